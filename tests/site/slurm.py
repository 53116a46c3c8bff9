"""What tests ask the site's Slurm, and how they wait for it: polled with a deadline, never slept for."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEADLINE = 60.0
POLL = 0.05
Answer = TypeVar("Answer")
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"})


class SubmissionRefusedError(Exception):
    """The message is what sbatch said."""


def until(what: str, ask: Callable[[], Answer], seconds: float = DEADLINE) -> Answer:
    """Ask until the answer is true, and return it; an AssertionError says what was waited for in vain."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; the last answer was {answer!r}")
        time.sleep(POLL)
    return answer


def run_as(user: str, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the site, in their home, with a login's bare environment."""
    account = pwd.getpwnam(user)
    return subprocess.run(
        list(command),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(user, account.pw_gid),
        cwd=account.pw_dir,
        env={"PATH": os.environ["PATH"], "HOME": account.pw_dir, "USER": user, "LOGNAME": user},
    )


def submit(user: str, script: str, *options: str) -> int:
    """Submit as the user themselves would; the job id. Raises SubmissionRefusedError."""
    done = run_as(user, "sbatch", "--parsable", *options, text=f"#!/bin/bash\n{script}\n")
    if done.returncode != 0:
        raise SubmissionRefusedError(done.stderr)
    return int(done.stdout.split(";")[0])


def job(number: int) -> dict[str, Any]:
    """What slurmctld knows of a job, as `scontrol show job --json` gives it."""
    return _ask("scontrol", "show", "job", str(number), "--json")["jobs"][0]


def state(number: int) -> str:
    return job(number)["job_state"][0]


def wait(number: int, states: Sequence[str] | frozenset[str] = ENDED, seconds: float = DEADLINE) -> dict[str, Any]:
    """The job, once it is in one of the states and, if that is an end, no longer completing on its nodes."""

    def settled() -> dict[str, Any] | None:
        now = job(number)
        return now if now["job_state"][0] in states and "COMPLETING" not in now["job_state"] else None

    found = until(f"job {number} to be {' or '.join(sorted(states))}, it is {state(number)}", settled, seconds)
    assert found is not None
    return found


def cancel(number: int) -> None:
    subprocess.run(["scancel", str(number)], check=True)


def run_again(number: int) -> None:
    """Have a job that was put back begin again at once; Slurm would have it wait two minutes."""
    wait(number, {"PENDING"})
    back = time.monotonic()  # slurmd refuses a credential of the second in which it has revoked the last one
    until("that second to be over", lambda: time.monotonic() > back + 2)
    subprocess.run(["scontrol", "update", f"jobid={number}", "starttime=now"], check=True)


def pids(number: int, node: str = "n1") -> list[int]:
    """The processes that slurmd counts to the job on a node: none if it knows of no such job."""
    command = ["scontrol", "listpids", str(number), node]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[1:]
    return [int(line.split()[0]) for line in lines if int(line.split()[0]) > 0]


def accounted(number: int) -> dict[str, Any]:
    """The ended job as sacct knows it, once slurmdbd has its end."""

    def ask() -> dict[str, Any] | None:
        jobs = _ask("sacct", "--jobs", str(number), "--json")["jobs"]
        return jobs[0] if jobs and jobs[0]["time"]["end"] and set(jobs[0]["state"]["current"]) & ENDED else None

    found = until(f"sacct to know the end of job {number}", ask)
    assert found is not None
    return found


def node_state(node: str = "n1") -> list[str]:
    """Such as ["IDLE"] or ["IDLE", "DRAIN"]."""
    return _ask("scontrol", "show", "node", node, "--json")["nodes"][0]["state"]


def running_daemons(program: str, node: str = "") -> list[psutil.Process]:
    """The running processes of slurmctld, slurmd or slurmstepd, of one node or of all; not what one of them has just forked.

    At a reconfiguration a daemon executes itself anew, by the name of the file that Debian's link leads to, and who was
    the daemon before stays as a zombie of what started it.
    """
    names = {program, f"{program}-wlm"}
    found = [
        process
        for process in psutil.process_iter(["name", "cmdline", "status", "ppid"])
        if process.info["name"] in names
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and (not node or node in (process.info["cmdline"] or ()))
    ]
    pids = {process.pid for process in found}
    return [process for process in found if process.info["ppid"] not in pids]


def _ask(*command: str) -> dict[str, Any]:
    return json.loads(subprocess.run(list(command), capture_output=True, text=True, check=True).stdout)
