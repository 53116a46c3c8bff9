"""exec-test, exec-check and doctor exec, run by a site's administrator on a site that works, and on one that does not."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc
from tests.killing import kill
from tests.site import pilot
from tests.site.slurm import run_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAUNCHER = Path("/usr/libexec/gridwarden/exec")
RULE = Path("/etc/sudoers.d/gridwarden-exec")
SERVICE = Path("/etc/pam.d/gridwarden-exec")


def doctor() -> tuple[int, list[str]]:
    command = ["gridwarden", "doctor", "exec", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, [row["kind"] for row in json.loads(done.stdout)]


@contextmanager
def altered(path: Path, text: str | None, mode: int | None = None) -> Iterator[None]:
    """The file with another text, or without it, or with another mode; afterwards as it was."""
    before, was = path.read_bytes(), path.stat().st_mode & 0o7777
    if text is None:
        path.unlink()
    else:
        path.chmod(0o600)
        path.write_text(text)
        path.chmod(was if mode is None else mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        path.chmod(was)


def test_the_doctor_finds_nothing_on_a_node_that_was_set_up_as_the_example_says(settings: Callable[..., None]) -> None:
    assert doctor() == (1, ["outside-jobs"])
    settings(pilot={"outside_jobs": "refuse"})
    assert doctor() == (0, [])


@pytest.mark.parametrize(
    ("path", "old", "new", "kind"),
    [
        (RULE, "NOPASSWD: ", "", "sudo-option"),
        (RULE, "!requiretty", "requiretty", "sudo-option"),
        (RULE, "NOSETENV", "SETENV", "sudo-option"),
        (RULE, "pilotcms, ", "", "sudo-rule-missing"),
        (
            RULE,
            "GRIDWARDEN_CALLERS  ALL",
            "GRIDWARDEN_CALLERS ALL = NOPASSWD: ALL\nGRIDWARDEN_CALLERS ALL",
            "sudo-too-wide",
        ),
        (RULE, "use_pty, pam_setcred", "!use_pty, !pam_setcred", "sudo-option"),
        (RULE, "Cmnd_Alias", "Cmnd_Alyas", "sudo-rules"),
        (SERVICE, "account ", "#account ", "pam-falls-open"),
        (SERVICE, "pam_mkhomedir.so", "pam_nowhere.so", "pam-module-missing"),
        (SERVICE, "pam_keyinit.so", "pam_systemd.so", "pam-leaves-the-job"),
    ],
)
def test_the_doctor_finds_what_was_altered(path: Path, old: str, new: str, kind: str) -> None:
    text = path.read_text()
    assert old in text
    with altered(path, text.replace(old, new)):
        code, kinds = doctor()
    assert (code, kind in kinds) == (1, True), kinds


@pytest.mark.parametrize(
    ("path", "mode", "kind"),
    [
        (RULE, 0o666, "sudo-rules"),
        (SERVICE, 0o666, "pam-service"),
        (SERVICE, None, "pam-service"),
        (LAUNCHER, 0o777, "program"),
        (LAUNCHER, None, "program"),
        (Path("/usr/sbin/glexec"), 0o4755, "program-setuid"),
        (Path("/etc/gridwarden/payload-environment"), 0o666, "file"),
    ],
)
def test_the_doctor_finds_what_is_missing_or_open_to_others(path: Path, mode: int | None, kind: str) -> None:
    with altered(path, None if mode is None else path.read_text(), mode):
        code, kinds = doctor()
    assert (code, kind in kinds) == (1, True), kinds


def test_only_root_is_told(tmp_path: Path) -> None:
    done = run_as("alice", "gridwarden", "doctor", "exec")
    assert (done.returncode, "only root" in done.stderr) == (2, True)


def check() -> tuple[int, str]:
    given = ("--proxy", str(pilot.proxy("anna")), "--pilot-proxy", str(pilot.proxy(pilot.OWNER)))
    done = run_as(
        pilot.ACCOUNT,
        "setsid",
        "--wait",
        "sh",
        "-c",
        'cd $(mktemp -d) && exec gridwarden exec-check "$@"',
        "sh",
        *given,
    )
    return done.returncode, done.stdout


def test_the_monitoring_check_is_content_with_this_site_and_not_when_the_launcher_is_gone() -> None:
    code, line = check()
    assert (code, line.startswith("GRIDWARDEN-EXEC OK - payloads run as uid 2")) == (0, True), line
    with altered(SERVICE, None):
        code, line = check()
    assert (code, line.startswith("GRIDWARDEN-EXEC CRITICAL - ")) == (2, True), line


def test_exec_test_proves_on_this_site_that_payloads_are_held_like_their_pilot() -> None:
    words = ("--proxy", pilot.proxy("anna"), "--pilot-proxy", pilot.proxy(pilot.OWNER), "--seconds", "3")
    command = ["gridwarden", "exec-test", "--pilot", pilot.ACCOUNT, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == (
        "exec-test PASSED: submit, switch, orphans, cpu-to-pilot, cpu-to-batch, suspend, resume, kill"
    )


def test_exec_test_fails_where_the_launcher_refuses() -> None:
    words = ("--proxy", pilot.proxy("anna", "expired"), "--pilot-proxy", pilot.proxy(pilot.OWNER), "--seconds", "1")
    command = ["gridwarden", "exec-test", "--pilot", pilot.ACCOUNT, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "PASSED" not in done.stdout


# It lets payloads go where the batch system does not see them, as a launcher that is none of its children would.
LOSING = """#!/bin/sh
setsid -f "$@"
case "$*" in *apart*) sleep 120 ;; *) sleep 0.3 ;; esac
"""


def test_exec_test_fails_where_payloads_escape_the_batch_system() -> None:
    face = pilot.home() / "face"
    face.write_text(LOSING)
    face.chmod(0o755)
    os.chown(face, pwd.getpwnam(pilot.ACCOUNT).pw_uid, -1)
    words = ("--pilot", pilot.ACCOUNT, "--face", str(face), "--seconds", "1", "--format", "json")
    try:
        done = subprocess.run(["gridwarden", "exec-test", *words], capture_output=True, text=True, check=False)
    finally:
        kill(*(process.pid for process in proc.owned_by(pwd.getpwnam(pilot.ACCOUNT).pw_uid)))
    assert done.returncode == 1, done.stderr
    verdicts = {row["proof"]: row["verdict"] for row in json.loads(done.stdout)}
    assert verdicts == {
        "submit": "yes",
        "switch": "NO",
        "orphans": "NO",
        "cpu-to-pilot": "NO",
        "cpu-to-batch": "yes",
        "suspend": "NO",
        "resume": "yes",
        "kill": "NO",
    }
