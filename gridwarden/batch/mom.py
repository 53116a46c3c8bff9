"""What the pbs_mom of OpenPBS and of Torque have in common: job files in mom_priv, and a session for every task.

A mom runs each task of a job as a session leader, and leaves those of a running job alone when it ends or is
upgraded; then nothing but the session tells whose they are.

What a task starts can be the mom's child, too (CLONE_PARENT of clone(2)).  So a user's process directly below a mom
proves nothing by itself.  It is the mom's own work in the mom's own session, where nobody else can start anything
(files are copied there), or while it executes the mom's own file (a task before it is the user's program); it is a
task's when its session is on record; and for a while it may be that of a task that is not on record yet.
"""

from __future__ import annotations

import os
import time

from gridwarden import executables, proc
from gridwarden.batch import question
from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.errors import Unavailable

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[[list[str], float], list["MomJob"]]

NAME = "pbs_mom"
JOB_FILE = ".JB"
# A session is on record at once when its task begins, but its process may first have run a prologue (300 s) and hooks.
ADMISSION_SECONDS = 600.0


class MomJob:
    """A job as its mom knows it: session ids of its tasks, and the uid it runs as, if the mom says so.

    ``file`` is the name of its job file without the ending ("": the job's).  ``has_ended``: its tasks have, and only
    its files are still to be copied.
    """

    __slots__ = ("file", "has_ended", "job", "owner", "sessions")

    def __init__(
        self, job: str, sessions: frozenset[int], owner: int | None, *, file: str = "", has_ended: bool = False
    ) -> None:
        self.file = file or job
        self.has_ended = has_ended
        self.job = job
        self.sessions = sessions
        self.owner = owner


def jobs_here(batch: str, site: dict[str, list[str]], ask: Ask, seconds: float) -> Answer:
    """The jobs that a mom runs on this machine, as far as it, its files and its processes agree.

    ``ask`` gets the paths of the job files and the seconds that are left, and returns the jobs that the mom tells
    of; it raises Unavailable, OSError.
    """
    home, daemons = site[f"prune_{batch}_home"][0], site["prune_daemon"]
    return question.answer(batch, lambda left: _look(batch, home, daemons, ask, left), seconds)


def _look(batch: str, home: str, daemons: list[str], ask: Ask, seconds: float) -> Answer:
    """Raises Unavailable when a job file is of no job that is told of, OSError where there is no mom_priv/jobs."""
    directory = f"{home}/mom_priv/jobs"
    files = [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(JOB_FILE)]
    jobs = ask(files, seconds)
    told = {job.file for job in jobs}
    for path in files:
        if os.path.basename(path).removesuffix(JOB_FILE) not in told and os.path.exists(path):
            raise Unavailable(f"{batch} does not tell of the job of {path}")
    processes = proc.everyone()
    live = [
        _live_job(batch, job, [each for each in processes if each.session in job.sessions])
        for job in jobs
        if not job.has_ended
    ]
    strangers, doubted = _unknown_children(processes, daemons, {session for job in jobs for session in job.sessions})
    return Answer(batch, live, strangers=strangers, doubted=doubted)


def _unknown_children(
    processes: list[proc.Process], daemons: list[str], known: set[int]
) -> tuple[dict[int, int], dict[int, str]]:
    """``strangers`` and ``doubted`` of an answer in which these sessions are those of the tasks."""
    moms = {
        process.pid: process
        for process in processes
        if process.command == NAME and question.is_daemon(process, daemons)
    }
    unknown = [
        process
        for process in processes
        if (mom := moms.get(process.parent)) and process.session not in {mom.session, *known}
        if process.real_uid and not process.has_ended()
    ]
    executes_its_file = _execute_the_same([(process, moms[process.parent]) for process in unknown])
    strangers: dict[int, int] = {}
    doubted: dict[int, str] = {}
    for process in unknown:
        if executes_its_file[process.pid]:
            continue
        if executes_its_file[process.pid] is False and _age(process) > ADMISSION_SECONDS:
            strangers[process.pid] = process.start
        else:
            why = f"{NAME} runs session {process.session}, which is of no job that it has told of"
            doubted |= {each.real_uid: why for each in processes if each.session == process.session and each.real_uid}
    return strangers, doubted


def _execute_the_same(pairs: list[tuple[proc.Process, proc.Process]]) -> dict[int, bool | None]:
    """Whether a process executes the file that another does, by the pid of the first; None: it cannot be told."""
    shown = {process.pid: question.executable(process.pid) for pair in pairs for process in pair}
    alike = [(one, other) for one, other in pairs if shown[one.pid] == shown[other.pid]]
    files = executables.of_processes([(shown[process.pid], process) for pair in alike for process in pair])
    same: dict[int, bool | None] = {process.pid: False for process, _ in pairs}
    for (process, _), one, other in zip(alike, files[::2], files[1::2], strict=True):
        same[process.pid] = None if executables.UNTOLD in (one, other) else one == other != executables.NO_FILE
    return same


def _age(process: proc.Process) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start / proc.TICKS


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
