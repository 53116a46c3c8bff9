"""What site-configs/pilot gives a node must be what the real sudo and PAM accept, and do what its comments say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.site.slurm import run_as
from tests.site.up import PILOT_FILES

RULE = Path(PILOT_FILES["sudoers"][0])
# In place of the launcher: says whose child it is, and what else it was started with.
PROBE = """#!/usr/bin/python3 -IS
import os, sys

with open(f"/proc/{os.getppid()}/comm") as file:
    parent = file.read().strip()
print(parent, os.getsid(0) == int(sys.argv[1]), sorted(os.listdir("/proc/self/fd")), oct(os.umask(0)), sorted(os.environ))
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """The rule of the example for another program than the launcher; the example itself stays."""
    program = tmp_path / "exec"
    program.write_text(PROBE)
    program.chmod(0o755)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    rule = Path("/etc/sudoers.d/zz-probe")
    text = RULE.read_text().replace("GRIDWARDEN_EXEC", "PROBE").replace("GRIDWARDEN_CALLERS", "PROBERS")
    rule.write_text(text.replace("/usr/libexec/gridwarden/exec", str(program)))
    rule.chmod(0o440)
    yield program
    rule.unlink()


def call(probe: Path, user: str = "pilotcms") -> subprocess.CompletedProcess[str]:
    script = 'exec 7</dev/null; export LD_PRELOAD=/x PYTHONPATH=/x BASH_ENV=/x LANG=tr_TR DISPLAY=:0 TZ=x; sudo -n -- "$0" $$; code=$?; exit $code'
    return run_as(user, "setsid", "--wait", "sh", "-c", script, str(probe))


def test_sudo_accepts_the_rule() -> None:
    done = subprocess.run(["visudo", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{RULE}: parsed OK" in done.stdout


def test_sudo_stays_as_the_launchers_parent_in_the_pilots_session_and_hands_nothing_of_the_pilot_over(
    probe: Path,
) -> None:
    done = call(probe)
    assert done.returncode == 0, done.stderr
    parent, session, rest = done.stdout.split(maxsplit=2)
    assert (parent, session) == ("sudo", "True"), "sudo replaced itself by the launcher"
    assert "'3'" in rest, "the directory that is being listed"
    assert "'7'" not in rest, "an open file of the pilot's"
    assert "0o77 " in rest
    assert not {"LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "LANG", "DISPLAY", "TZ"} & set(rest.split("'"))


def test_without_the_rules_options_sudo_would_be_gone_and_the_pilots_signals_with_it(probe: Path) -> None:
    rule = Path("/etc/sudoers.d/zz-probe")
    rule.chmod(0o600)
    rule.write_text(rule.read_text().replace("use_pty, pam_setcred", "!use_pty, !pam_setcred"))
    rule.chmod(0o440)
    assert call(probe).stdout.split()[0] == "sh", "the example's comment on these options would be wrong"


def test_nobody_else_may_start_the_launcher(probe: Path) -> None:
    for user in ("alice", "cms001"):
        done = call(probe, user)
        assert (done.returncode, done.stdout) == (1, "")


def test_the_pilot_may_hand_no_variable_to_the_launcher_by_the_command_line(probe: Path) -> None:
    done = run_as("pilotcms", "sudo", "-n", "LD_PRELOAD=/x", "--", str(probe), "1")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("name", sorted(PILOT_FILES))
def test_nobody_but_root_can_write_what_a_node_takes(name: str) -> None:
    status = os.stat(PILOT_FILES[name][0])
    assert (status.st_uid, status.st_gid, status.st_mode & 0o022) == (0, 0, 0)


def test_every_module_of_the_pam_file_is_there() -> None:
    lines = Path(PILOT_FILES["pam"][0]).read_text().splitlines()
    named = {line.split()[2] for line in lines if line and line[0] != "#"}
    there = {path.name for path in Path("/usr/lib").glob("*/security/*.so")}
    assert named - there == set()
    assert {f"pam_{name}.so" for name in ("nologin", "access", "limits", "env", "unix", "shells", "mkhomedir")} <= named
