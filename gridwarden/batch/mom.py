"""What the pbs_mom of OpenPBS and of Torque have in common: job files in mom_priv, and a session for every task.

A mom runs each task of a job as a session leader, and leaves those of a running job alone when it ends or is
upgraded; then nothing but the session tells whose they are.
"""

from __future__ import annotations

import os

from gridwarden import proc
from gridwarden.batch import question
from gridwarden.batch.evidence import LiveJob
from gridwarden.errors import Unavailable

JOB_FILE = ".JB"


class MomJob:
    """A job as its mom knows it: session ids of its tasks, and the uid it runs as, if the mom says so."""

    __slots__ = ("job", "owner", "sessions")

    def __init__(self, job: str, sessions: frozenset[int], owner: int | None) -> None:
        self.job = job
        self.sessions = sessions
        self.owner = owner


def job_files(home: str) -> list[str]:
    """The paths of the job files; raises OSError where there is no mom_priv/jobs."""
    directory = f"{home}/mom_priv/jobs"
    return [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(JOB_FILE)]


def live_jobs(batch: str, jobs: list[MomJob], daemons: list[str]) -> list[LiveJob]:
    """These jobs with what their processes are known by.

    Raises Unavailable when a mom, root's and one of ``daemons``, runs a task of none of them.
    """
    programs = [os.path.realpath(path) for path in daemons]
    processes = proc.everyone()
    known = {session for job in jobs for session in job.sessions}
    moms = {process.pid for process in processes if question.is_daemon(process, programs)}
    for process in processes:
        leads = process.pid == process.session and process.real_uid and not process.has_ended()
        if leads and process.parent in moms and process.session not in known:
            raise Unavailable(f"pbs_mom runs session {process.session}, which is of no job that it has told of")
    return [_live_job(batch, job, [each for each in processes if each.session in job.sessions]) for job in jobs]


def _live_job(batch: str, job: MomJob, members: list[proc.Process]) -> LiveJob:
    leaders = [process for process in members if process.pid == process.session]
    groups: tuple[str, ...] = ()
    for process in leaders or members:
        # OpenPBS's hook: pbs_jobs.service/jobid/JOB; Torque: torque/JOB (read in the sources of 23.06 and 6.1).
        groups += question.control_groups(process.pid, job.job.__eq__)
    return LiveJob(
        batch=batch,
        job=job.job,
        node="",
        owner=next((process.real_uid for process in members if process.real_uid), job.owner),
        roots={process.pid: process.start for process in leaders},
        sessions=job.sessions,
        cgroups=tuple(dict.fromkeys(groups)),
    )
