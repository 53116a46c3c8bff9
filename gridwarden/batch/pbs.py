"""OpenPBS as a node sees it: the job and task files of its mom, as PBS's own ``printjob`` shows them.

``printjob -a`` shows no attributes, so nothing of what it prints is a user's.  Its format is that of
printjob.c of 23.06.06, read in the source.
"""

from __future__ import annotations

import os

from gridwarden.batch import mom, question

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.batch.evidence import Answer

FIRST_LINE = "\njobid:\t"
TASK_FILE = "task file "
OWNER = "\tuid\t"
SESSION = "\tsid:\t\t"
TASK_END = "\texitstat:\t"


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The OpenPBS jobs that run on this machine, by their mom's files."""
    program = f"{site['prune_pbs_programs'][0]}/printjob"
    return mom.jobs_here("pbs", site, lambda files, left: _ask(program, files, left), seconds)


def _ask(program: str, files: list[str], seconds: float) -> list[mom.MomJob]:
    """Raises Unavailable, OSError."""
    return question.ask_for([program, "-a", *files], lambda text: _parse_whole(text, files), seconds) if files else []


def _parse_whole(text: str, files: list[str]) -> list[mom.MomJob] | None:
    """The jobs; None also when there are other task files than were printed."""
    return parse(text) if text.count(f"\n{TASK_FILE}") == sum(map(_tasks, files)) else None


def _tasks(path: str) -> int:
    """The number of task files of a job, in the directory beside its job file; raises OSError."""
    try:
        names = os.listdir(path.removesuffix(mom.JOB_FILE) + ".TK")
    except FileNotFoundError:
        return 0
    return sum(not name.startswith(".") for name in names)  # as printjob takes them


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
