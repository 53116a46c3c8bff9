"""Torque as a node sees it: what ``momctl -d 0`` says of its own mom, and the mom's job files.

The format is that of mom_main.c of 6.1, read in the source: a line ``job[ID]  state=STATE sidlist=SID,SID``
for each job, and ``diagnostics complete`` at the end.
"""

from __future__ import annotations

from gridwarden.batch import mom, question

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.batch.evidence import Answer

LAST_LINE = "diagnostics complete"
NO_JOBS = "NOTE:  no local jobs detected"
LONGEST_FILE_NAME = 61  # PBS_JOBBASE
# Substates (PJobSubState) of a job that has ended: an empty sidlist means no task, not one that is not known yet.
ENDED = frozenset(
    ["EXITING", "EXIT_WAIT", "STAGEOUT", "STAGEDEL", "EXITED", "ABORT", "NOTERM_REQUE", "PREOBIT", "OBIT", "COMPLETED"]
)


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The Torque jobs that run on this machine, as far as the mom and its files agree."""
    command = [f"{site['prune_torque_programs'][0]}/momctl", "-d", "0"]
    return mom.jobs_here("torque", site, lambda _, left: question.ask_for(command, parse, left), seconds)


def parse(text: str) -> list[mom.MomJob] | None:
    """The jobs that ``momctl -d 0`` prints; None when it is not whole.  One that only arrives has no sidlist."""
    lines = text.rstrip("\n").split("\n")
    listed = [line for line in lines if line.startswith("job[")]
    if lines[-1] != LAST_LINE or bool(listed) == (NO_JOBS in lines):
        return None
    jobs = []
    for line in listed:
        job, closing, rest = line[len("job[") :].partition("]  state=")
        sessions = line.rpartition(" sidlist=")[2].split(",") if " sidlist=" in line else []
        if not closing or not all(session.isdigit() for session in sessions if session):
            return None
        live = frozenset(int(session) for session in sessions if session)
        has_ended = not live and rest.partition(" ")[0] in ENDED
        jobs.append(mom.MomJob(job, live, None, file=_file_of(job), has_ended=has_ended))
    return jobs


def _file_of(job: str) -> str:
    """The name of a job's files: NUMBER-TASK.SERVER for one of an array, which is called NUMBER[TASK].SERVER."""
    number, dot, server = job.partition(".")
    return f"{number.replace('[', '-').replace(']', '')}{dot}{server}"[:LONGEST_FILE_NAME]
