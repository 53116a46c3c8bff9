"""The monitoring check and exec-test must see a node that is broken: each step is shown a face that fails it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridwarden.cli import gridwarden
from gridwarden.errors import Unavailable
from gridwarden.hooks.pilot import exec_test, exec_test_slurm, probe
from gridwarden.run import run
from tests.killing import kill

OTHER_UID = 65533
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
MARK = "GRIDWARDEN_TEST_PROBE"
EXEC_DIR = ["/bin/sh", "-c", 'if [ "$1" = -r ]; then rm -r "$2"; else mktemp -d; fi', "exec-dir"]
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


def face(directory: Path, body: str) -> list[str]:
    """A program in place of the launcher's face."""
    path = directory / "glexec"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return [str(path)]


SWITCHING = f'exec setpriv --reuid {OTHER_UID} --regid {OTHER_UID} --clear-groups -- "$@"'


@pytest.fixture
def left_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends the orphans that a face without a launcher behind it leaves."""
    monkeypatch.setenv(MARK, str(os.getpid()))
    yield
    wanted = f"{MARK}={os.getpid()}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = wanted in path.read_bytes().split(b"\0")
        except OSError:
            continue
        if marked and int(path.parent.name) != os.getpid():
            kill(int(path.parent.name))


def test_a_node_without_a_face_is_critical() -> None:
    verdict = probe.check(["/nowhere/glexec"], EXEC_DIR, ENVIRONMENT)
    assert verdict.code == probe.CRITICAL
    assert verdict.line() == "GRIDWARDEN-EXEC CRITICAL - /nowhere/glexec is not there: gridwarden hooks install"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 203", "the site refuses this caller or this credential"),
        ("echo 'not today' >&2; exit 202", "not today"),
        ("exit 1", "sudo does not let this account call the launcher"),
        ("printf 'x\\033[2J|y' >&2; exit 201", r"x\x1b[2J/y"),
    ],
)
def test_a_launch_that_fails_is_critical_with_what_it_said(tmp_path: Path, body: str, said: str) -> None:
    verdict = probe.check(face(tmp_path, body), EXEC_DIR, ENVIRONMENT)
    assert verdict.code == probe.CRITICAL
    assert said in verdict.line()


def test_payloads_that_run_as_the_pilot_are_a_warning(tmp_path: Path) -> None:
    verdict = probe.check(face(tmp_path, 'exec "$@"'), EXEC_DIR, ENVIRONMENT)
    assert (verdict.code, "nobody is kept apart" in verdict.text) == (probe.WARNING, True)
    assert verdict.line().endswith("s") and " | launch=" in verdict.line()


@needs_root
def test_a_directory_that_cannot_be_made_or_used_is_a_warning(tmp_path: Path) -> None:
    switching = face(tmp_path, SWITCHING)
    for exec_dir in (["/bin/false"], EXEC_DIR):  # the second: root's own, mode 0700
        verdict = probe.check(switching, exec_dir, ENVIRONMENT)
        assert (verdict.code, f"uid {OTHER_UID}, but" in verdict.text) == (probe.WARNING, True)


@needs_root
def test_all_is_well_where_a_program_brought_in_runs_and_nothing_is_left(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    script = f'if [ "$1" = -r ]; then rm -r "$2"; else mkdir {shared}; chmod 777 {shared}; echo {shared}; fi'
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    verdict = probe.check(face(tmp_path, SWITCHING), ["/bin/sh", "-c", script, "exec-dir"], ENVIRONMENT)
    assert (verdict.code, verdict.text) == (
        probe.OK,
        f"payloads run as uid {OTHER_UID}, and take what is put into their directory",
    )
    assert not shared.exists()


def test_the_face_is_found_where_pilots_look_for_it(tmp_path: Path) -> None:
    (tmp_path / "sbin").mkdir()
    (found,) = face(tmp_path / "sbin", "exit 0")
    for name in probe.LOCATIONS:
        assert probe.find_face({name: str(tmp_path)}) == found
    assert probe.find_face({"GLEXEC_LOCATION": "/nowhere"}) == probe.FACE
    assert probe.find_face({}) == "/usr/sbin/glexec"


def test_the_command_ends_with_the_code_that_nagios_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = face(tmp_path, "exit 203")
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_UID)
    assert run(gridwarden, "gridwarden", ["exec-check", "--face", path]) == 2
    assert capsys.readouterr().out.startswith("GRIDWARDEN-EXEC CRITICAL - ")


@needs_root
def test_root_is_told_that_its_own_check_would_say_nothing_of_pilots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = face(tmp_path, f"touch {tmp_path}/started; exit 203")
    assert run(gridwarden, "gridwarden", ["exec-check", "--face", path]) == 3
    assert capsys.readouterr().out.startswith("GRIDWARDEN-EXEC UNKNOWN - root is no pilot")
    assert not (tmp_path / "started").exists()


@needs_root
@pytest.mark.usefixtures("left_nothing")
def test_a_launcher_that_leaves_orphans_does_not_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exec_test, "GONE_SECONDS", 0.3)
    proofs = {proof.name: proof for proof in exec_test.switch_and_orphans(face(tmp_path, SWITCHING))}
    assert proofs["submit"].holds
    assert (proofs["switch"].holds, f"payload uid {OTHER_UID}" in proofs["switch"].detail) == (True, True)
    assert not proofs["orphans"].holds


@pytest.mark.usefixtures("left_nothing")
def test_a_launcher_that_switches_nobody_or_runs_nothing_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(exec_test, "GONE_SECONDS", 0.3)
    proofs = {proof.name: proof.holds for proof in exec_test.switch_and_orphans(face(tmp_path, 'exec "$@"'))}
    assert proofs == {"submit": True, "switch": False, "orphans": False}
    proofs = {proof.name: proof.holds for proof in exec_test.switch_and_orphans(face(tmp_path, "exit 203"))}
    assert proofs == {"submit": False, "switch": False, "orphans": False}


@pytest.mark.usefixtures("left_nothing")
def test_cpu_time_that_does_not_come_to_the_pilot_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert exec_test.burnt(face(tmp_path, 'exec "$@"'), 1).holds
    lost = exec_test.burnt(face(tmp_path, 'setsid -f "$@" > out; until grep -q s out; do sleep 0.1; done; cat out'), 1)
    assert not lost.holds, lost.detail
    assert "the payload used 0.00" not in lost.detail


@needs_root
def test_what_runs_as_the_pilot_cannot_type_into_the_administrators_terminal_and_its_failure_is_told() -> None:
    daemon = exec_test_slurm.Slurm(pwd.getpwnam("daemon"), Path("/usr/bin"))
    said = daemon.as_pilot(["sh", "-c", 'echo $$; cut -d " " -f 6 /proc/$$/stat; id -u; id -G']).split()
    assert said[0] == said[1], "it is in the administrator's session"
    assert said[2:] == [b"1", b"1"]
    with pytest.raises(Unavailable, match=r"sh as daemon: no \\x1b"):
        daemon.as_pilot(["sh", "-c", "printf 'no \\\\x1b' >&2; exit 3"])


def test_the_job_tells_who_submitted_it_what_it_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = face(tmp_path, "exit 203")
    words = ["exec-test", "--inside", str(tmp_path), "--seconds", "1", "--face", path]
    assert run(gridwarden, "gridwarden", words) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "exec-test FAILED: submit, switch, orphans, cpu-to-pilot"
    assert (tmp_path / "proofs").exists()
