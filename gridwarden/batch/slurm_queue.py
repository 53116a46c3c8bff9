"""Ask Slurm's controller whether a user has any job left, pending ones included: never from a hook."""

from __future__ import annotations

import os
import subprocess

SECONDS = 20.0
LONGEST_SHOWN = 5

FINISHED = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    ]
)
"""Job states after which nothing of the job runs again (squeue(1)).  One that is not named here counts as alive."""


def jobs_of(uid: int, programs: str, shown: str = "%i") -> list[str] | None:
    """The ids of the jobs of ``uid`` that have not finished, in all partitions; None when it cannot be told.

    ``shown``: %i for ids as people write them (an array's tasks as ARRAY_TASK), %A for those that hooks are told, %F for
    arrays as a whole (squeue(1)).
    """
    command = [f"{programs}/squeue", "--all", "--noheader", "--states=all", f"--user={uid}", f"--format={shown} %T"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    if "SLURM_CONF" in os.environ:
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    try:
        answer = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True
        ).stdout.decode("ascii")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return unfinished(answer)


def unfinished(answer: str) -> list[str] | None:
    """The jobs in ``ID STATE`` lines that have not finished; None when a line is not of that form."""
    jobs = []
    for line in answer.splitlines():
        job, _, state = line.partition(" ")
        if not (job and state):
            return None
        if state not in FINISHED:
            jobs.append(job)
    return jobs
