"""Ask slurmctld to stop a job, with a deadline: the only calls to a controller that a hook makes.

A prolog knows a job by its own number only.  That of an array's last task is also the whole array's, so
there the request reaches all its tasks; they are the same account's.
"""

from __future__ import annotations

import os
import time

SECONDS = 10.0  # two or three tries; slurmd itself waits for a prolog without limit
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 1.0


def cancel(programs: str, job: str) -> bool:
    """Cancel a job; True once the controller has taken the request."""
    return _ask([f"{programs}/scancel", job])


def requeue_held(programs: str, job: str) -> bool:
    """Put a job back into the queue, held; True once the controller has taken the request."""
    return _ask([f"{programs}/scontrol", "requeuehold", job])


def _ask(command: list[str]) -> bool:
    """Run a command, again while it fails, until it succeeds or the time is over."""
    deadline = time.monotonic() + SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if _run(command, left):
            return True
        time.sleep(min(RETRY_SECONDS, left))
    return False


def _run(command: list[str], seconds: float) -> bool:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
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
