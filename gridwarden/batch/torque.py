"""Torque as a node sees it: what ``momctl -d 0`` says of its own mom, and the mom's job files.

The format is that of mom_main.c of 6.1, read in the source: a line ``job[ID]  state=STATE sidlist=SID,SID``
for each job, and ``diagnostics complete`` at the end.
"""

from __future__ import annotations

import os

from gridwarden.batch import mom, question
from gridwarden.errors import Unavailable

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.batch.evidence import Answer, LiveJob

LAST_LINE = "diagnostics complete"
NO_JOBS = "NOTE:  no local jobs detected"


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The Torque jobs that run on this machine, as far as the mom and its files agree."""
    return question.answer("torque", lambda left: _look(site, left), seconds)


def _look(site: dict[str, list[str]], seconds: float) -> list[LiveJob]:
    """Raises Unavailable, OSError."""
    files = mom.job_files(site["prune_torque_home"][0])
    command = [f"{site['prune_torque_programs'][0]}/momctl", "-d", "0"]
    text, well = question.ask(command, seconds)
    jobs = parse(text) if well else None
    if jobs is None:
        raise question.no_answer(command, text)
    told = {job.job for job in jobs}
    if silent := [path for path in files if os.path.basename(path)[:-3] not in told and os.path.exists(path)]:
        raise Unavailable(f"momctl does not tell of the job of {silent[0]}")
    return mom.live_jobs("torque", jobs, site["prune_daemon"])


def parse(text: str) -> list[mom.MomJob] | None:
    """The jobs that ``momctl -d 0`` prints; None when it is not whole.  One that only arrives has no sidlist."""
    lines = text.rstrip("\n").split("\n")
    listed = [line for line in lines if line.startswith("job[")]
    if lines[-1] != LAST_LINE or bool(listed) == (NO_JOBS in lines):
        return None
    jobs = []
    for line in listed:
        job, closing, _ = line[len("job[") :].partition("]  state=")
        sessions = line.rpartition(" sidlist=")[2].split(",") if " sidlist=" in line else []
        if not closing or not all(session.isdigit() for session in sessions if session):
            return None
        jobs.append(mom.MomJob(job, frozenset(int(session) for session in sessions if session), None))
    return jobs
