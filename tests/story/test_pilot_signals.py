"""Signals to a pilot, to the real sudo and to the launcher: the payload and all that it started ends, stops and goes on."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc
from tests.site import pilot
from tests.site.slurm import run_as, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# Whoever is in here has a session of its own, and has lost its parent.
PAYLOAD = "trap '' TERM HUP; (setsid sh -c 'sleep 6161 & sleep 6162' &); (setsid setsid sleep 6163 &); sleep 6164"
MEMBERS = 4
SECONDS = 60.0


@pytest.fixture(autouse=True, scope="module")
def _short_grace() -> Iterator[None]:
    """These payloads will not end when they are asked to."""
    path = Path("/etc/gridwarden/site.d/50-signals.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text("pilot: {grace_seconds: 0.5}\n")
    yield
    path.unlink()


class Running:
    """A payload that runs, and the processes above it."""

    def __init__(self, pids: dict[str, int], started: dict, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pids = pids
        self.payload = started["payload"]
        self.account = started["account"]
        self.process = process

    def everybody(self) -> list[proc.Process]:
        return proc.owned_by(pwd.getpwnam(self.account).pw_uid)

    def states(self) -> set[str]:
        return {process.state for process in self.everybody()}

    def end(self) -> dict:
        return until("the end's record", lambda: pilot.records("payload_end", payload=self.payload), SECONDS)[0]


def above(pid: int) -> dict[str, int]:
    """The processes above that of a payload."""
    pids = {"payload": pid}
    for name in ("guard", "launcher", "sudo", "pilot"):
        pid = proc.read(pid).parent
        pids[name] = pid
    return pids


def sleepers(account: str) -> list[proc.Process]:
    return [one for one in proc.owned_by(pwd.getpwnam(account).pw_uid) if one.command == "sleep"]


def begun(before: int) -> dict:
    started = until("the payload", lambda: pilot.records("payload_start")[before:], SECONDS)[0]
    until("all of the payload", lambda: len(sleepers(started["account"])) == MEMBERS, SECONDS)
    return started


@pytest.fixture
def running() -> Iterator[Running]:
    """A payload of anna's that a pilot outside any batch job has started."""
    owner, own = pilot.proxy("anna"), pilot.proxy(pilot.OWNER)
    account = pwd.getpwnam(pilot.ACCOUNT)
    before = len(pilot.records("payload_start"))
    process = subprocess.Popen(
        ["sh", "-c", 'gridwarden-exec /bin/sh -c "$0"; exit $?', PAYLOAD],
        stdin=subprocess.DEVNULL, user=account.pw_uid, group=account.pw_gid, extra_groups=[], start_new_session=True,
        cwd="/", env={"PATH": os.environ["PATH"], "GLEXEC_CLIENT_CERT": str(owner), "X509_USER_PROXY": str(own)},
    )  # fmt: skip
    try:
        started = begun(before)
        yield Running(above(first(started["account"]).pid), started, process)
    finally:
        process.kill()
        process.wait()
    until("nobody", lambda: not proc.owned_by(pwd.getpwnam(started["account"]).pw_uid), SECONDS)


def first(account: str) -> proc.Process:
    """The payload's own process, the first of all."""
    return min(proc.owned_by(pwd.getpwnam(account).pw_uid), key=lambda one: (one.start, one.pid))


def by_pilot(number: int, pid: int) -> None:
    done = run_as(pilot.ACCOUNT, "/bin/kill", f"-{number}", str(pid))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("role", "number", "because"),
    [
        ("sudo", signal.SIGTERM, "ended by SIGTERM"),
        ("sudo", signal.SIGKILL, "sudo has gone"),
        ("pilot", signal.SIGKILL, "the pilot has gone"),
    ],
)
def test_whatever_the_pilot_ends_the_payload_is_gone_and_the_end_is_on_record(
    running: Running, role: str, number: int, because: str
) -> None:
    by_pilot(number, running.pids[role])
    until("everybody to be gone", lambda: not running.everybody(), SECONDS)
    assert running.end()["because"] == because


@pytest.mark.parametrize("role", ["launcher", "guard"])
def test_a_launcher_or_guard_that_is_killed_takes_the_payload_with_it(running: Running, role: str) -> None:
    assert run_as(pilot.ACCOUNT, "/bin/kill", "-9", str(running.pids[role])).returncode != 0, (
        "the pilot can kill root's"
    )
    os.kill(running.pids[role], signal.SIGKILL)
    until("everybody to be gone", lambda: not running.everybody(), SECONDS)


@pytest.mark.parametrize(
    ("role", "number"), [("sudo", signal.SIGSTOP), ("sudo", signal.SIGTSTP), ("pilot", signal.SIGSTOP)]
)
def test_what_the_pilot_stops_stops_the_payload_and_lets_it_go_on(running: Running, role: str, number: int) -> None:
    by_pilot(number, running.pids[role])
    until("everybody to stand still", lambda: running.states() == {"T"}, SECONDS)
    time.sleep(0.5)
    assert running.states() == {"T"}
    by_pilot(signal.SIGCONT, running.pids[role])
    until("everybody to go on", lambda: running.states() == {"S"}, SECONDS)
    by_pilot(signal.SIGKILL, running.pids["sudo"])
    until("everybody to be gone", lambda: not running.everybody(), SECONDS)


def test_a_job_that_slurm_suspends_stands_still_with_its_payload(slurm: ModuleType, tmp_path: Path) -> None:
    owner, own = pilot.proxy("anna"), pilot.proxy(pilot.OWNER)
    before = len(pilot.records("payload_start"))
    job = slurm.submit(
        pilot.ACCOUNT,
        f'cd /; export GLEXEC_CLIENT_CERT={owner} X509_USER_PROXY={own}\ngridwarden-exec /bin/sh -c "{PAYLOAD}"',
    )
    started = begun(before)
    one = Running(above(first(started["account"]).pid), started)
    subprocess.run(["scontrol", "suspend", str(job)], check=True)
    until("everybody to stand still", lambda: one.states() == {"T"}, SECONDS)
    subprocess.run(["scontrol", "resume", str(job)], check=True)
    until("everybody to go on", lambda: one.states() == {"S"}, SECONDS)
    slurm.cancel(job)
    slurm.wait(job)
    until("everybody to be gone", lambda: not one.everybody(), SECONDS)
    assert one.end()["because"]


def test_a_pilot_that_has_slurm_stop_its_job_stops_its_payload_and_holds_up_no_other_job(slurm: ModuleType) -> None:
    """And the launcher, which is root's: SIGSTOP cannot be blocked."""
    owner, own = pilot.proxy("anna"), pilot.proxy(pilot.OWNER)
    before = len(pilot.records("payload_start"))
    job = slurm.submit(
        pilot.ACCOUNT,
        f'cd /; export GLEXEC_CLIENT_CERT={owner} X509_USER_PROXY={own}\ngridwarden-exec /bin/sh -c "{PAYLOAD}"',
    )
    started = begun(before)
    one = Running(above(first(started["account"]).pid), started)
    for number, state in ((signal.SIGSTOP, "T"), (signal.SIGCONT, "S")):
        done = run_as(pilot.ACCOUNT, "scancel", "--full", f"--signal={number.name}", str(job))
        assert done.returncode == 0, done.stderr
        until(f"all to be {state}", lambda state=state: one.states() == {state}, SECONDS)
        until(
            f"the launcher to be {state}", lambda state=state: proc.read(one.pids["launcher"]).state == state, SECONDS
        )
        if state == "T":
            other = slurm.submit("alice", "true")
            slurm.wait(other)
            assert slurm.state(other) == "COMPLETED"
            assert one.states() == {"T"}, "somebody let it go on"
    slurm.cancel(job)
    slurm.wait(job)
    until("everybody to be gone", lambda: not one.everybody(), SECONDS)
    assert one.end()["because"]
