"""OpenPBS as a node sees it: the job and task files of its mom, as PBS's own ``printjob`` shows them.

``printjob -a`` shows no attributes, so nothing of what it prints is a user's.  Its format is that of
printjob.c of 23.06.06, read in the source.
"""

from __future__ import annotations

import os

from gridwarden.batch import mom, question

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.batch.evidence import Answer, LiveJob

FIRST_LINE = "\njobid:\t"
TASK_FILE = "task file "
OWNER = "\tuid\t"
SESSION = "\tsid:\t\t"
TASK_END = "\texitstat:\t"


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The OpenPBS jobs that run on this machine, by their mom's files."""
    return question.answer("pbs", lambda left: _look(site, left), seconds)


def _look(site: dict[str, list[str]], seconds: float) -> list[LiveJob]:
    """Raises Unavailable, OSError."""
    files = mom.job_files(site["prune_pbs_home"][0])
    jobs: list[mom.MomJob] = []
    if files:
        command = [f"{site['prune_pbs_programs'][0]}/printjob", "-a", *files]
        text, well = question.ask(command, seconds)
        found = parse(text) if well else None
        if found is None or {job.job for job in found} != {os.path.basename(path)[:-3] for path in files}:
            raise question.no_answer(command[:1], text)
        jobs = found
    return mom.live_jobs("pbs", jobs, site["prune_daemon"])


def parse(text: str) -> list[mom.MomJob] | None:
    """The jobs that ``printjob -a`` prints; None when a task of one of them is not whole, or a job is not.

    The sid of a task that has ended is negative.
    """
    if not text.endswith("\n"):
        return None
    jobs = []
    for part in text.split(FIRST_LINE)[1:]:
        lines = part.split("\n")
        sessions = [int(line[len(SESSION) :]) for line in lines if line.startswith(SESSION)]
        tasks = sum(line.startswith(TASK_FILE) for line in lines)
        ends = sum(line.startswith(TASK_END) for line in lines)
        owners = [int(line[len(OWNER) :]) for line in lines if line.startswith(OWNER)]
        if not (tasks == len(sessions) == ends) or not any(line.startswith("queue:\t") for line in lines):
            return None
        live = frozenset(session for session in sessions if session > 1)
        jobs.append(mom.MomJob(lines[0], live, owners[0] if owners else None))
    return jobs
