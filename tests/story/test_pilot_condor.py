"""A pilot in a real HTCondor job: its payload ends with it however it ends, and what nobody could do any more the pruner does."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import payloads, proc, register
from tests.killing import kill
from tests.site import pilot
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

REGISTER, PAYLOADS = "/run/gridwarden/jobs", "/run/gridwarden/payloads"
SETTINGS = Path("/etc/gridwarden/site.d/50-condor.yaml")
SCRATCH = Path("/srv/condor-pilot")
# A pilot that ends its payload when it is to end itself.  Of the payload two are in sessions of their own, and have lost their
# parent; one of them burns.
PILOT = f"""#!/bin/sh
cd {SCRATCH}
export X509_USER_PROXY={{home}}/{pilot.OWNER}.pem GLEXEC_CLIENT_CERT={{home}}/anna.pem PATH=/usr/bin:/bin
gridwarden-exec /bin/sh -c 'echo 42 >result; (setsid sleep 7101 &); (setsid sh -c "while :; do :; done" &); sleep 7102' &
trap "kill $!" TERM
wait; wait
sleep 7103
"""
MEMBERS = 4
SECOND = 1_000_000


@pytest.fixture(autouse=True)
def _pilots(condor: ModuleType) -> Iterator[None]:
    pilot.proxy("anna")
    pilot.proxy(pilot.OWNER)
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text("pilot: {scratch: hand-over}\nprune: {batch: [slurm, htcondor], kill: true}\n")
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)
    account = pwd.getpwnam(pilot.ACCOUNT)
    SCRATCH.mkdir(mode=0o700)
    os.chown(SCRATCH, account.pw_uid, account.pw_gid)
    script = pilot.home() / "pilot.sh"
    script.write_text(PILOT.format(home=pilot.home()))
    script.chmod(0o755)
    yield
    subprocess.run(["condor_rm", "-all"], capture_output=True, check=False)
    kill(*(one.pid for one in proc.owned_by(account.pw_uid)))
    until("the queue to be empty", lambda: not condor.queue())
    shutil.rmtree(SCRATCH)
    SETTINGS.unlink()
    subprocess.run(["gridwarden", "config", "install"], check=True, capture_output=True)


def begin(condor: ModuleType) -> tuple[int, payloads.State]:
    """A pilot's job whose payload runs, all of it."""
    cluster = condor.submit(pilot.ACCOUNT, f"exec {pilot.home()}/pilot.sh")
    until("the payload", (SCRATCH / "result").exists, 120)
    (state,) = [one for one in payloads.everything(PAYLOADS) if one.program == "/usr/bin/dash"]
    until("all of it", lambda: len(living(state)) == MEMBERS)
    return cluster, state


def living(state: payloads.State) -> list[proc.Process]:
    return [process for process in proc.owned_by(state.uid) if not process.has_ended()]


def above(pid: int) -> dict[str, proc.Process]:
    """Those above a payload, up to the starter of its pilot's job."""
    found = {}
    for role in ("guard", "launcher", "sudo", "pilot", "starter"):
        pid = proc.read(pid).parent
        found[role] = proc.read(pid)
    assert found["starter"].command == "condor_starter"
    return found


def ended(state: payloads.State) -> dict:
    """The record of the end, once nothing is left of the payload and the pilot has its directory back."""
    until("the books to be closed", lambda: not payloads.read(PAYLOADS, state.payload))
    assert living(state) == []
    (end,) = pilot.records("payload_end", payload=state.payload)
    assert state.payload not in {entry.job for entry in register.everything(REGISTER)}
    assert {path.stat().st_uid for path in (SCRATCH, SCRATCH / "result")} == {pwd.getpwnam(pilot.ACCOUNT).pw_uid}
    return end


def prune() -> None:
    done = subprocess.run(["gridwarden-prune"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_removing_the_pilots_job_ends_all_of_its_payload_and_what_that_used_is_on_record(condor: ModuleType) -> None:
    cluster, state = begin(condor)
    assert state.batch == "htcondor", "it is known whose job that is"
    until("it to have burnt", lambda: sum(process.cpu for process in living(state)) > SECOND)
    subprocess.run(["condor_rm", str(cluster)], check=True, capture_output=True)
    end = ended(state)
    assert (end["signal"], end["because"]) == (signal.SIGTERM, "ended by SIGTERM")
    assert end["user"] + end["system"] >= SECOND


def test_with_a_starter_that_is_killed_htcondor_ends_all_of_the_job_and_the_pruner_closes_the_books(
    condor: ModuleType,
) -> None:
    _, state = begin(condor)
    os.kill(above(state.process)["starter"].pid, signal.SIGKILL)
    until("all of it to be gone", lambda: not living(state))
    until("the guard to be gone", lambda: not payloads.is_led(PAYLOADS, state.payload))
    prune()
    assert ended(state)["because"]


def test_what_a_killed_launcher_ran_is_ended_by_the_pruner_while_the_pilots_job_goes_on(condor: ModuleType) -> None:
    cluster, state = begin(condor)
    chain = above(state.process)
    stays = {chain["pilot"].pid, chain["starter"].pid}
    os.kill(chain["launcher"].pid, signal.SIGSTOP)  # so that it does not see the guard's end
    for role in ("guard", "launcher"):
        os.kill(chain[role].pid, signal.SIGKILL)
    until("nobody to lead it", lambda: not payloads.is_led(PAYLOADS, state.payload))
    assert living(state), "what left its session lives on"
    prune()
    end = ended(state)
    assert (end["because"], end["measured"]) == ("launcher killed", "processes")
    assert {pid for pid in stays if proc.read(pid)} == stays
    assert condor.running(cluster) == 1
