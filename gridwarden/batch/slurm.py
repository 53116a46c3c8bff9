"""Slurm as a node sees it, without asking a controller: which job steps run here, and whose they are.

Each slurmstepd listens on a Unix socket ``NODE_JOB.STEP`` (with ``.COMPONENT`` in heterogeneous jobs) in
slurmd's spool directory, SlurmdSpoolDir.  Those directories are root's: a name there is not a user's.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket  # socket loads enum

from gridwarden import proc
from gridwarden.batch import question, slurm_listing, slurm_spool
from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.errors import Unavailable

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container

    from gridwarden.batch.slurm_listing import Listed

CONNECT_SECONDS = 1.0
PEER_CREDENTIALS_BYTES = 12  # struct ucred: pid, uid, gid


class Step:
    """A running job step: ``pid`` is its slurmstepd, ``owner`` the uid of its script if it is a batch step here.

    ``step`` is its number, with that of its component behind a dot in a heterogeneous job.
    """

    __slots__ = ("job", "node", "owner", "pid", "step")

    def __init__(self, node: str, job: str, step: str, pid: int, owner: int | None) -> None:
        self.node = node
        self.job = job
        self.step = step
        self.pid = pid
        self.owner = owner


def steps_here(spool: str, of: Container[tuple[str, str]] | None = None) -> list[Step] | None:
    """The steps that run on this machine, of all its slurmd, or those of some jobs alone; None when that cannot be told.

    ``spool`` is SlurmdSpoolDir, as ``slurm_spool.directories`` takes it; ``of`` are jobs as (node, job).
    """
    try:
        return [step for directory in slurm_spool.directories(spool).values() for step in _steps_in(directory, of)]
    except (OSError, Unavailable):
        return None


def jobs_of_steps(spool: str) -> set[tuple[str, str]] | None:
    """The jobs, as (node, job), that have a step here, or had one that was killed; None as for ``steps_here``."""
    try:
        directories = slurm_spool.directories(spool).values()
        return {(node, job) for directory in directories for node, job, _ in _sockets(directory)}
    except OSError:
        return None


def runs_as(uid: int, spool: str, known: set[tuple[str, str]], ending: str = "") -> bool | None:
    """Whether a Slurm job step on this machine is ``uid``'s or runs something as ``uid``; None: not to be told.

    A process belongs to the step whose slurmstepd is among its ancestors.  ``known`` are the jobs, as
    (node, job), that the local register says to be another account's: theirs may be between two processes.
    ``ending`` is the job whose Epilog asks.
    """
    found = steps_here(spool)
    if found is None:
        return None
    steps = _without_own(found, ending)
    others = all(step.owner not in (None, uid) or (step.node, step.job) in known for step in steps)
    if others and not any(uid in each[:2] for each in proc.by_owner()):
        return False  # as at the end of most payloads: nobody's ancestors need be looked for
    processes = {process.pid: process for process in proc.everyone()}
    uids: dict[int, set[int]] = {step.pid: set() for step in steps}
    # Those that the spool does not show: it was moved, or site.yaml names another one.
    uids.update((process.pid, set()) for process in processes.values() if _is_daemon(process))
    for process in processes.values():
        if not process.has_ended() and (daemon := _ancestor_among(uids, process, processes)):
            uids[daemon].update((process.real_uid, process.effective_uid))
    if any(uid == step.owner for step in steps) or any(uid in below for below in uids.values()):
        return True
    for step in steps:
        belongs_to_others = step.owner is not None or uids[step.pid] - {0} or (step.node, step.job) in known
        if not belongs_to_others:
            return None
    return False


def _without_own(steps: list[Step], ending: str) -> list[Step]:
    """Without the step in which the Epilog of job ``ending`` itself runs: PrologFlags=RunInJob, from Slurm 24.05 on."""
    ours = {step.pid for step in steps if step.job == ending}
    pid = os.getpid()
    while ours and pid not in ours and (process := proc.read(pid)):
        pid = process.parent
    return [step for step in steps if not (step.job == ending and step.pid == pid)]


def jobs_here(site: dict[str, list[str]], seconds: float) -> Answer:
    """The Slurm jobs that run on this machine, as far as the spool and ``scontrol listpids`` agree."""
    spool, programs = site["slurm_spool"][0], site["slurm_programs"][0]
    return question.answer("slurm", lambda left: Answer("slurm", _look(spool, programs, left)), seconds)


def _look(spool: str, programs: str, seconds: float) -> list[LiveJob]:
    """The jobs by their steps; raises Unavailable, OSError."""
    deadline = time.monotonic() + seconds
    directories = slurm_spool.directories(spool)
    if not directories:
        raise Unavailable(f"no slurmd keeps its steps in {spool}")
    jobs: dict[tuple[str, str], LiveJob] = {}
    for node, directory in directories.items():
        steps = _steps_in(directory)
        listed = slurm_listing.ask(programs, node, deadline - time.monotonic())
        if listed is not None:
            _compare(steps, listed, directory)
        elif len(steps) == len(_sockets(directory)):
            raise Unavailable(
                f"scontrol meets a dead step, {directory} shows none: is it SlurmdSpoolDir of slurm.conf?"
            )
        for step in steps:
            job = jobs.setdefault((step.node, step.job), _live_job(step))
            _add(job, step, [each.pid for each in listed or () if each.is_task and each.job == step.job])
    return [job for job in jobs.values() if job.roots]  # the others have ended meanwhile


def _compare(steps: list[Step], listed: list[Listed], directory: str) -> None:
    """Raise Unavailable unless the spool has every step that scontrol lists, and scontrol every one that runs."""
    shown = {(step.job, slurm_listing.step_name(step.step)) for step in steps}
    for each in listed:
        if (each.job, each.step) not in shown:
            raise Unavailable(
                f"scontrol lists job {each.job}, {directory} does not: is it SlurmdSpoolDir of slurm.conf?"
            )
    found = {(each.job, each.step) for each in listed}
    silent = {step.pid: step for step in steps if (step.job, slurm_listing.step_name(step.step)) not in found}
    for process in proc.everyone() if silent else ():
        if process.parent in silent and not process.has_ended():
            raise Unavailable(
                f"scontrol does not list job {silent[process.parent].job}, of which {directory} has a step"
            )


def _live_job(step: Step) -> LiveJob:
    return LiveJob(
        batch="slurm", job=step.job, node=step.node, owner=step.owner, roots={}, sessions=frozenset(), cgroups=()
    )


def _add(job: LiveJob, step: Step, tasks: list[int]) -> None:
    """Add to a job what the processes of one of its steps are known by."""
    daemon = proc.read(step.pid)
    if daemon is None or daemon.real_uid != 0:
        return
    job.roots[daemon.pid] = daemon.start
    # slurmd starts each slurmstepd in a session of its own, whose leader has gone.
    if daemon.session == daemon.pid or proc.read(daemon.session) is None:
        job.sessions |= {daemon.session}
    # slurm_NODE/uid_U/job_J with cgroup/v1 (seen with 24.11.5), slurmstepd.scope/job_J with cgroup/v2 (its source).
    groups = question.control_groups(step.pid, f"job_{step.job}".__eq__)
    job.cgroups = tuple(dict.fromkeys((*job.cgroups, *groups)))
    if job.owner is None:
        owners = (task.real_uid for pid in tasks if (task := proc.read(pid)))
        job.owner = next((uid for uid in owners if uid), None)


def _steps_in(directory: str, of: Container[tuple[str, str]] | None = None) -> list[Step]:
    return [
        Step(node, job, step, pid, _script_owner(directory, job))
        for node, job, step in _sockets(directory)
        if (of is None or (node, job) in of) and (pid := _listener(f"{directory}/{node}_{job}.{step}"))
    ]


def _sockets(directory: str) -> list[tuple[str, str, str]]:
    """Node, job and step of each socket of a slurmstepd, alive or dead."""
    found = []
    for name in os.listdir(directory):
        # A node's name may hold "_" and, as a host's full name, "."; a job's and a step's number hold neither.
        node, _, numbers = name.rpartition("_")
        job, dot, step = numbers.partition(".")
        if node and dot and job.isdigit() and step.replace(".", "", 1).isdigit():
            found.append((node, job, step))
    return found


def _listener(path: str) -> int:
    """The pid that listens on a socket; 0 when none does any more (a dead slurmstepd) or it is no socket.

    Raises Unavailable when it does not take the connection, OSError.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            return 0
    except FileNotFoundError:
        return 0
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(path)
        credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, PEER_CREDENTIALS_BYTES)
    except (FileNotFoundError, ConnectionRefusedError):
        return 0
    except (BlockingIOError, TimeoutError) as error:
        raise Unavailable(f"{path}: its slurmstepd takes no connection") from error
    finally:
        connection.close()
    return int.from_bytes(credentials[:4], sys.byteorder)


def _script_owner(directory: str, job: str) -> int | None:
    try:
        return os.stat(f"{directory}/job{int(job):05d}/slurm_script", follow_symlinks=False).st_uid
    except FileNotFoundError:
        return None


def _is_daemon(process: proc.Process) -> bool:
    """Whether a process is a slurmstepd; its name alone is anybody's to take, root's real uid is not."""
    return process.command == "slurmstepd" and process.real_uid == 0


def _ancestor_among(daemons: Container[int], process: proc.Process, processes: dict[int, proc.Process]) -> int:
    """The nearest ancestor that is one of ``daemons``; 0 when there is none."""
    pid = process.parent
    for _ in range(len(processes)):
        if pid in daemons:
            return pid
        if pid not in processes:
            return 0
        pid = processes[pid].parent
    return 0
