"""Cancel every job of an account, pending ones included, and see them gone: for commands, never for a hook."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gridwarden.batch import question, slurm_queue
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ASK_SECONDS = 10.0
PAUSE_SECONDS = 0.5


def cancel_all(
    accounts: Mapping[str, int], programs: str, seconds: float, tell: Callable[[str, list[str]], None]
) -> dict[str, list[str]]:
    """Cancel the jobs of ``accounts`` (name -> uid) until none is left, or ``seconds`` are over; what is left of each.

    ``tell`` is called with an account and jobs (an array has one number) before they are cancelled, once for each; what
    it raises is raised again, and they are not cancelled.  Raises Unavailable when Slurm does not answer.
    """
    deadline = time.monotonic() + seconds
    told: set[str] = set()
    while True:
        left = {account: jobs_of(account, uid, programs) for account, uid in accounts.items()}
        left = {account: jobs for account, jobs in left.items() if jobs}
        for account, jobs in left.items():
            if new := [job for job in jobs if job not in told]:
                tell(account, new)
                told.update(new)
            said, well = question.ask([f"{programs}/scancel", f"--user={account}"], ASK_SECONDS)
            if not well:
                raise question.no_answer([f"{programs}/scancel", f"--user={account}"], said)
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(PAUSE_SECONDS)


def jobs_of(account: str, uid: int, programs: str) -> list[str]:
    """The jobs of an account that have not finished, an array as one; raises Unavailable."""
    jobs = slurm_queue.jobs_of(uid, programs, "%F")
    if jobs is None:
        raise Unavailable(
            f"{programs}/squeue does not say which jobs {account} has", "run it where Slurm's programs are"
        )
    return list(dict.fromkeys(jobs))
