"""Ask slurmctld to stop a job, and wait until slurmd knows it: the only calls to a controller that a hook makes.

slurmctld tells the nodes after it has answered.  A prolog that ended in between would let slurmd start the job.

A prolog knows a job by its own number only.  That of an array's last task is also the whole array's, so slurmctld
is asked first which task that is; where it does not say, the request reaches all of them, the same account's.
"""

from __future__ import annotations

import os
import time

from gridwarden.batch import question, slurm_credentials
from gridwarden.errors import ConfigurationError, Unavailable

SECONDS = 10.0  # for each of the two: two or three tries; slurmd itself waits for a prolog without limit
TASK_SECONDS = 5.0
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 1.0


def cancel(programs: str, job: str) -> bool:
    """Cancel a job; True once the controller has taken the request."""
    return _ask([f"{programs}/scancel", _task(programs, job)])


def requeue_held(programs: str, job: str) -> bool:
    """Put a job back into the queue, held; True once the controller has taken the request."""
    return _ask([f"{programs}/scontrol", "requeuehold", _task(programs, job)])


def _task(programs: str, job: str) -> str:
    """What only the job of this number is called: ``ARRAY_TASK`` if it is one of an array (squeue(1), %A %F %K)."""
    command = [f"{programs}/squeue", "--all", "--array", "--noheader", f"--jobs={job}", "--format=%A %F %K"]
    try:
        text, well = question.ask(command, TASK_SECONDS)
    except Unavailable:
        return job
    for line in text.splitlines() if well else []:
        number, _, task = line.partition(" ")
        array, _, index = task.partition(" ")
        if number == job and array.isdigit() and index.isdigit():
            return f"{array}_{index}"
    return job


def is_over_here(spool: str, node: str, job: str, since: int) -> bool:
    """Wait until slurmd of ``node`` has revoked the credential of the job's run that began at ``since`` (s, epoch).

    False when that has not been seen in time; the reason is on stderr, which slurmd logs.
    """
    deadline = time.monotonic() + SECONDS
    why = "slurmctld has not told this node"
    while time.monotonic() < deadline:
        try:
            if slurm_credentials.is_revoked(spool, node, job, since):
                return True
        except (ConfigurationError, ValueError) as error:  # also between the old file and the new one
            why = str(error)
        time.sleep(PAUSE_SECONDS)
    os.write(2, f"gridwarden: job {job} is not known to be over: {why}\n".encode("ascii", "backslashreplace"))
    return False


def _ask(command: list[str]) -> bool:
    """Run a command, again while it fails, until it succeeds or the time is over."""
    deadline = time.monotonic() + SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if _run(command, left):
            return True
        time.sleep(min(RETRY_SECONDS, left))
    return False


def _run(command: list[str], seconds: float) -> bool:
    environment = question.ENVIRONMENT.copy()
    if "SLURM_CONF" in os.environ:  # slurmd's own word on where its cluster's configuration is
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    null = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    to_stderr = [(os.POSIX_SPAWN_DUP2, 2, 1)]
    try:
        child = os.posix_spawn(command[0], command, environment, file_actions=null + to_stderr)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode("ascii", "backslashreplace"))
        return False
    deadline = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        if time.monotonic() > deadline:
            os.kill(child, 9)  # ours and not reaped yet, so the number is still its own
            os.waitpid(child, 0)
            return False
        time.sleep(PAUSE_SECONDS)
