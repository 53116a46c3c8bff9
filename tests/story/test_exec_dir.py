"""A directory for files between a pilot and its payload, as mkgltempdir makes one beside gLExec."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site import pilot
from tests.site.slurm import run_as

if TYPE_CHECKING:
    from collections.abc import Iterator

PILOT = pwd.getpwnam(pilot.ACCOUNT)


@pytest.fixture
def area() -> Iterator[Path]:
    """A directory of the pilot's own that everybody may pass through."""
    pilot.proxy(pilot.OWNER)
    pilot.proxy("anna")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chown(name, PILOT.pw_uid, PILOT.pw_gid)
        Path(name).chmod(0o711)
        yield Path(name)


def exec_dir(*words: str | Path, owner: str = "anna") -> subprocess.CompletedProcess[str]:
    variables = [f"GLEXEC_CLIENT_CERT={pilot.home()}/{owner}.pem", f"X509_USER_PROXY={pilot.home()}/{pilot.OWNER}.pem"]
    return run_as(pilot.ACCOUNT, "setsid", "--wait", "env", *variables, "gridwarden", "exec-dir", *map(str, words))


def made(*words: str | Path) -> Path:
    done = exec_dir(*words)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.removesuffix("\n"))


def payload(*command: str, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    own = pilot.home() / f"{pilot.OWNER}.pem"
    given = {name: str(value) for name, value in variables.items()}
    return pilot.launch(*command, owner=pilot.home() / "anna.pem", pilot=own, **given)


def test_pilot_and_payload_exchange_files_and_nothing_is_left(area: Path) -> None:
    path = made("-t", "0755", area)
    account = pwd.getpwuid(path.stat().st_uid)
    assert account.pw_name.startswith("cms")
    assert account.pw_name != pilot.ACCOUNT
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert (path.parent.stat().st_uid, stat.S_IMODE(path.parent.stat().st_mode)) == (PILOT.pw_uid, 0o755)
    done = payload("/bin/sh", "-c", f"umask 22; mkdir {path}/sub; echo result > {path}/sub/out")
    assert done.returncode == 0, done.stderr
    assert run_as(pilot.ACCOUNT, "cat", f"{path}/sub/out").stdout == "result\n"
    gone = exec_dir("-r", path)
    assert gone.returncode == 0, gone.stderr
    assert os.listdir(area) == []


def test_the_payloads_credential_can_be_put_there(area: Path) -> None:
    path = made(area)
    done = payload(
        "/bin/sh", "-c", 'echo "$X509_USER_PROXY"; stat -c %a "$X509_USER_PROXY"', GLEXEC_TARGET_PROXY=path / "p"
    )
    assert (done.returncode, done.stdout) == (0, f"{path}/p\n600\n"), done.stderr


def test_by_default_the_directory_is_the_payloads_alone(area: Path) -> None:
    path = made(area)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert run_as(pilot.ACCOUNT, "ls", str(path)).returncode != 0


def test_nobody_else_can_put_something_in_its_place_once_it_is_made(area: Path) -> None:
    path = made(area)
    for command in (("mv", str(path), f"{path}.aside"), ("mkdir", f"{path.parent}/mine")):
        assert run_as("pilotatlas", *command).returncode != 0
        assert payload(f"/bin/{command[0]}", *command[1:]).returncode != 0


def test_a_payload_that_may_not_run_leaves_no_directory_behind(area: Path) -> None:
    pilot.give(pilot.CREDENTIALS / "anna" / "expired.pem", "expired.pem")
    done = exec_dir(area, owner="expired")
    assert done.returncode == 203
    assert "credential-expired" in done.stderr
    assert done.stdout == ""
    assert os.listdir(area) == []


def test_it_removes_nothing_that_it_has_not_made(area: Path) -> None:
    (area / "own").mkdir()
    done = exec_dir("-r", area / "own")
    assert done.returncode == 2
    assert (area / "own").exists()


def test_an_area_in_which_nothing_can_be_made_is_named(area: Path) -> None:
    done = exec_dir(f"{area}/missing")
    assert done.returncode == 75
    assert f"{area}/missing" in done.stderr


@pytest.mark.parametrize("mode", ["0888", "-1", "02755", "rwx", ""])
def test_a_mode_that_is_none_is_refused(area: Path, mode: str) -> None:
    assert exec_dir("-t", mode, area).returncode == 2
    assert os.listdir(area) == []


def test_a_parent_that_others_could_change_is_refused(area: Path) -> None:
    assert exec_dir("-m", "0777", area).returncode == 2
    assert os.listdir(area) == []
