"""Frameworks that call gLExec call its face here, unchanged: its variables, its exit codes, the places where it is found."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site import pilot, syslog
from tests.site.slurm import run_as

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

GLEXEC = "/usr/sbin/glexec"
CODES = {"success": 0, "another": 42, "client": 201, "system": 202, "authorization": 203, "collision": 204, "exec": 126}


def call(*words: str, account: str = pilot.ACCOUNT, **variables: object) -> subprocess.CompletedProcess[str]:
    """Call as a framework does, with its variables exported."""
    exported = [f"{name}={value}" for name, value in variables.items() if value is not None]
    return run_as(account, "setsid", "--wait", "env", "--chdir=/", *exported, *words)


@pytest.fixture(autouse=True)
def _pilot() -> None:
    pilot.proxy(pilot.OWNER)
    pilot.proxy("anna")


@pytest.fixture
def proxies() -> dict[str, Path]:
    """What a pilot exports: the owner's proxy, and its own."""
    return {"GLEXEC_CLIENT_CERT": pilot.home() / "anna.pem", "X509_USER_PROXY": pilot.home() / "bela.pem"}


@pytest.fixture
def account(people: SimpleNamespace) -> pwd.struct_passwd:
    """Whom the owner is mapped to."""
    command = ["gridwarden", "map", "--proxy", str(people.anna.proxy)]
    return pwd.getpwnam(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


@pytest.fixture
def exchange(account: pwd.struct_passwd) -> Iterator[Path]:
    """A directory of the target user's, as mkgltempdir makes it."""
    directory = Path("/srv/exchange")  # not where an account's leavings are cleared
    directory.mkdir(mode=0o700)
    os.chown(directory, account.pw_uid, account.pw_gid)
    yield directory
    subprocess.run(["rm", "-rf", str(directory)], check=True)


def test_glexec_with_a_client_certificate_runs_the_payload_as_its_owner(
    proxies: dict[str, Path], account: pwd.struct_passwd
) -> None:
    done = call(GLEXEC, "/usr/bin/id", "-u", **proxies)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{account.pw_uid}\n", "")


def test_what_glideins_and_probes_ask_first_is_answered(proxies: dict[str, Path]) -> None:
    done = call(GLEXEC, "-v")
    assert done.returncode == 0
    assert "glexec" in done.stdout.lower()
    done = call(GLEXEC, "/bin/sh", "-c", 'id && echo "Hello World"', **proxies)
    assert done.returncode == 0
    assert "Hello World" in done.stdout


@pytest.mark.parametrize("variable", ["GLEXEC_LOCATION", "OSG_GLEXEC_LOCATION", "GLITE_LOCATION"])
def test_glexec_is_found_below_a_location(variable: str, proxies: dict[str, Path], account: pwd.struct_passwd) -> None:
    place = Path("/opt/glite")
    subprocess.run(
        ["gridwarden", "hooks", "install", "--glexec", f"{place}/sbin/glexec"], check=True, capture_output=True
    )
    done = call("/bin/sh", "-c", f'exec "${variable}/sbin/glexec" /usr/bin/id -u', **{variable: place}, **proxies)
    assert (done.returncode, done.stdout) == (0, f"{account.pw_uid}\n")


def test_the_payload_gets_a_copy_of_the_proxy_and_the_pilot_keeps_its_own(proxies: dict[str, Path]) -> None:
    script = 'stat -c "%a %U" "$X509_USER_PROXY"; echo "$X509_USER_PROXY"; cat "$X509_USER_PROXY"; id -un'
    done = call(GLEXEC, "/bin/sh", "-c", script, **proxies)
    mode, owner, path, *rest = done.stdout.split(maxsplit=3)
    assert (mode, owner) == ("600", done.stdout.split()[-1])
    assert path not in {str(path) for path in proxies.values()}
    assert rest[0].startswith(proxies["GLEXEC_CLIENT_CERT"].read_text())
    assert not Path(path).exists(), "the copy outlived the payload"


def test_source_and_target_proxy_say_what_is_handed_over_and_where(
    proxies: dict[str, Path], exchange: Path, account: pwd.struct_passwd
) -> None:
    source = pilot.give(pilot.CREDENTIALS / "anna" / "limited.pem", "limited.pem")
    target = exchange / "proxy"
    script = 'echo "$X509_USER_PROXY"; stat -c "%a %U" "$X509_USER_PROXY"; cat "$X509_USER_PROXY"'
    done = call(GLEXEC, "/bin/sh", "-c", script, **proxies, GLEXEC_SOURCE_PROXY=source, GLEXEC_TARGET_PROXY=target)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}\n600 {account.pw_name}\n{source.read_text()}"


def test_a_target_of_somebody_elses_is_left_as_it_was(proxies: dict[str, Path], exchange: Path) -> None:
    other = exchange / "other"
    other.write_text("not yours")
    done = call(GLEXEC, "/usr/bin/id", **proxies, GLEXEC_TARGET_PROXY=other)
    assert (done.returncode, done.stdout) == (CODES["client"], "")
    assert other.read_text() == "not yours"


def test_a_wrapped_environment_passes_and_the_rest_of_the_pilots_does_not(proxies: dict[str, Path]) -> None:
    """As the wrap and unwrap scripts do: variables packed into GLEXEC_ENV, and taken out by a script behind glexec."""
    unwrap = pilot.home() / "unwrap"
    unwrap.write_text('#!/bin/sh\neval "$(echo "$GLEXEC_ENV" | base64 -d)"\nunset GLEXEC_ENV\nexec "$@"\n')
    unwrap.chmod(0o755)
    os.chown(unwrap, pwd.getpwnam(pilot.ACCOUNT).pw_uid, -1)
    pilot.home().chmod(0o711)
    wrapped = subprocess.run(
        ["base64", "-w0"], input="export TASK='a b'; export LANG=C\n", capture_output=True, text=True, check=True
    ).stdout
    words = (GLEXEC, str(unwrap), "/usr/bin/env")
    done = call(*words, **proxies, GLEXEC_ENV=wrapped, PILOTS="x", LD_PRELOAD="/x", TZ="Europe/Zurich")
    pilot.home().chmod(0o700)
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert (variables["TASK"], variables["LANG"], variables["TZ"]) == ("a b", "C", "Europe/Zurich")
    assert not {"PILOTS", "LD_PRELOAD", "GLEXEC_ENV"} & variables.keys()
    assert variables["USER"] != pilot.ACCOUNT


def test_the_payloads_exit_code_comes_back_and_one_of_glexecs_own_as_204(proxies: dict[str, Path]) -> None:
    for code, expected in ((0, "success"), (42, "another"), (201, "collision"), (203, "collision"), (204, "collision")):
        assert call(GLEXEC, "/bin/sh", "-c", f"exit {code}", **proxies).returncode == CODES[expected]


def test_each_kind_of_failure_has_glexecs_code(proxies: dict[str, Path]) -> None:
    without_owner = proxies | {"GLEXEC_CLIENT_CERT": None}
    not_a_proxy = proxies | {"GLEXEC_CLIENT_CERT": "/etc/passwd"}
    not_a_pilot = proxies | {"X509_USER_PROXY": pilot.home() / "anna.pem", "GLEXEC_CLIENT_CERT": pilot.proxy("chen")}
    data = pilot.give(Path("/etc/hostname"), "data", mode=0o644)
    pilot.home().chmod(0o711)
    codes = {
        "client": [call(GLEXEC, "/usr/bin/id", **without_owner), call(GLEXEC, "/usr/bin/id", **not_a_proxy),
                   call(GLEXEC, **proxies), call(GLEXEC, "/nowhere/program", **proxies)],
        "authorization": [call(GLEXEC, "/usr/bin/id", **not_a_pilot)],
        "exec": [call(GLEXEC, str(data), **proxies)],
    }  # fmt: skip
    pilot.home().chmod(0o700)
    for kind, ended in codes.items():
        assert {done.returncode for done in ended} == {CODES[kind]}, kind
        assert all(done.stderr.count("\n") == 1 and done.stdout == "" for done in ended), kind


def test_in_a_container_without_privileges_it_says_so_in_a_sentence(proxies: dict[str, Path]) -> None:
    for prefix in (["setpriv", "--no-new-privs"], ["unshare", "--user", "--map-root-user"]):
        done = call(*prefix, GLEXEC, "/usr/bin/id", **proxies)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (CODES["system"], "", 1), done.stderr
        assert "sudo cannot work here" in done.stderr


def test_an_id_with_a_newline_makes_no_line_of_its_own_in_the_log(proxies: dict[str, Path]) -> None:
    done = call(GLEXEC, "/usr/bin/true", **proxies, GLEXEC_ID="task\n2026 forged: event=payload-start")
    assert done.returncode == 0
    assert not [line for line in syslog.lines() if line.startswith("2026 forged")]
    assert pilot.records("payload_start")[-1]["name"].startswith("task\\x0a2026 forged")


def test_standard_streams_go_through(proxies: dict[str, Path]) -> None:
    words = [
        "env",
        *(f"{name}={value}" for name, value in proxies.items()),
        GLEXEC,
        "/bin/sh",
        "-c",
        "cat; echo err >&2",
    ]
    done = run_as(pilot.ACCOUNT, "setsid", "--wait", *words, text="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "in\n", "err\n")
