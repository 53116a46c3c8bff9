"""Whatever is killed with SIGKILL, a payload ends with its job, its end is on record, and the pilot gets its scratch back."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import payloads, proc, register
from tests.site import pilot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

REGISTER, PAYLOADS = "/run/gridwarden/jobs", "/run/gridwarden/payloads"
LENDING = Path("/etc/gridwarden/site.d/50-scratch.yaml")
# A scratch directory as batch systems make it; the payload burns in a session of its own, and leaves a result.
JOB = """
mkdir -m 700 /var/tmp/scratch; cd /var/tmp/scratch
echo input > input
export X509_USER_PROXY=$HOME/bela.pem GLEXEC_CLIENT_CERT=$HOME/anna.pem
gridwarden-exec /bin/sh -c 'cat input; umask 077; mkdir out; echo result > out/result; setsid sh -c "while :; do :; done" &
until [ -e ready ]; do sleep 0.1; done; touch burning; sleep 300'
echo ended with $?
cat out/result
"""


@pytest.fixture(autouse=True)
def _lending(slurm: ModuleType) -> Iterator[None]:
    pilot.proxy("anna")
    pilot.proxy(pilot.OWNER)
    LENDING.parent.mkdir(exist_ok=True)
    LENDING.write_text("pilot: {scratch: hand-over}\n")
    yield
    LENDING.unlink()
    subprocess.run(["scancel", "--user", pilot.ACCOUNT], check=False)
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))
    subprocess.run(["rm", "-rf", "/var/tmp/scratch"], check=True)


def begin(slurm: ModuleType) -> tuple[int, payloads.State]:
    """A pilot whose payload burns in its scratch directory."""
    job = slurm.submit(pilot.ACCOUNT, JOB)
    slurm.until("the payload to have the scratch", Path("/var/tmp/scratch/out/result").exists)
    Path("/var/tmp/scratch/ready").touch()
    slurm.until("the payload to burn", Path("/var/tmp/scratch/burning").exists)
    (state,) = [one for one in payloads.everything(PAYLOADS) if one.job == str(job)]
    return job, state


def is_running(state: payloads.State) -> bool:
    return state.payload in {one.payload for one in payloads.everything(PAYLOADS)}


def of(uid: int) -> list[proc.Process]:
    return [process for process in proc.owned_by(uid) if not process.has_ended()]


def above(pid: int) -> list[proc.Process]:
    """The processes above one, nearest first, up to sudo."""
    found = []
    while (process := proc.read(pid)) is not None:
        found.append(process)
        if process.command == "sudo":
            return found
        pid = process.parent
    raise AssertionError("there is no sudo above the payload")


def kill(*processes: proc.Process) -> None:
    """All at once, as far as anybody can: all but the last are stopped first, so that none of them sees another's end.

    The last is not, since sudo stops itself when what it runs is stopped, and nobody would ever continue it.
    """
    *others, last = processes
    for process in others:
        os.kill(process.pid, signal.SIGSTOP)
    for process in (last, *others):
        with contextlib.suppress(ProcessLookupError):  # Slurm kills the others, too, once the pilot is gone
            os.kill(process.pid, signal.SIGKILL)


def assert_cleared(slurm: ModuleType, job: int, state: payloads.State, *, ends: bool = True) -> dict[str, object]:
    """Nothing of the payload is left, and its end is known; its record."""
    slurm.until("the payload to be gone", lambda: not of(state.uid))
    if ends:
        slurm.wait(job)
    slurm.until("the books to be closed", lambda: not is_running(state))
    (end,) = pilot.records("payload_end", payload=state.payload)
    scratch = Path("/var/tmp/scratch")
    owners = {path.stat().st_uid for path in (scratch, *scratch.rglob("*"))}
    assert owners - {0} == {pwd.getpwnam(pilot.ACCOUNT).pw_uid}, "the scratch is not all the pilot's"
    return end


def test_results_of_a_payload_come_back_to_the_pilot_whose_scratch_nobody_else_can_enter(slurm: ModuleType) -> None:
    job, state = begin(slurm)
    payload = above(state.process)[0]
    os.kill(payload.pid, signal.SIGTERM)
    end = assert_cleared(slurm, job, state)
    assert end["signal"] == signal.SIGTERM
    said = (pilot.home() / f"slurm-{job}.out").read_text()
    assert "input\n" in said
    assert said.endswith(f"ended with {128 + signal.SIGTERM}\nresult\n"), said


@pytest.mark.parametrize("victim", ["guard", "launcher", "sudo"])
def test_one_of_those_above_a_payload_is_killed(slurm: ModuleType, victim: str) -> None:
    job, state = begin(slurm)
    _, guard, launcher, *rest = above(state.process)
    kill({"guard": guard, "launcher": launcher, "sudo": rest[-1]}[victim])
    end = assert_cleared(slurm, job, state)
    assert end["because"] == {"guard": "its guard was killed"}.get(
        victim, f"the {victim} has gone".replace("the sudo", "sudo")
    )
    assert end["measured"].startswith("wait4")
    assert end["user"] + end["system"] > 0, "it has burnt"


def test_launcher_and_guard_are_killed_at_once_and_the_epilog_ends_what_they_ran(slurm: ModuleType) -> None:
    job, state = begin(slurm)
    _, guard, launcher, *_ = above(state.process)
    kill(guard, launcher)
    end = assert_cleared(slurm, job, state)
    assert end["because"]


def test_the_whole_chain_is_killed_and_the_pilot_with_it(slurm: ModuleType) -> None:
    job, state = begin(slurm)
    chain = above(state.process)
    shell = proc.read(chain[-1].parent)
    assert shell is not None
    kill(*chain[1:], shell)
    end = assert_cleared(slurm, job, state)
    assert end["because"]


@pytest.fixture
def _pruning(_lending: None) -> Iterator[None]:
    """The pruner kills, and does not only report."""
    extra = LENDING.with_name("60-prune.yaml")
    extra.write_text("prune: {kill: true}\n")
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)
    yield
    extra.unlink()
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)


@pytest.mark.usefixtures("_pruning")
def test_the_pruner_ends_what_a_killed_launcher_ran_while_the_pilot_goes_on(slurm: ModuleType) -> None:
    job, state = begin(slurm)
    _, guard, launcher, *_ = above(state.process)
    stays = proc.read(above(state.process)[-1].parent)
    assert stays is not None
    os.kill(stays.pid, signal.SIGSTOP)  # the pilot does not notice, so no epilog runs
    kill(guard, launcher)
    slurm.until("the launcher to be gone", lambda: not payloads.is_led(PAYLOADS, state.payload))
    done = subprocess.run(["gridwarden-prune"], capture_output=True, text=True, check=False)
    assert_cleared(slurm, job, state, ends=False)
    assert slurm.state(job) == "RUNNING", done.stdout
    os.kill(stays.pid, signal.SIGCONT)
    slurm.wait(job)
