"""Slurm as a node sees it, without asking a controller: which job steps run here, and whose they are.

Each slurmstepd listens on a Unix socket ``NODE_JOB.STEP`` (with ``.COMPONENT`` in heterogeneous jobs) in
slurmd's spool directory, SlurmdSpoolDir.  Those directories are root's: a name there is not a user's.
"""

from __future__ import annotations

import os
import stat
import sys
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket  # socket loads enum

from gridwarden import proc

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container

CONNECT_SECONDS = 1.0
PEER_CREDENTIALS_BYTES = 12  # struct ucred: pid, uid, gid


class Step:
    """A running job step: ``pid`` is its slurmstepd, ``owner`` the uid of its script if it is a batch step here."""

    __slots__ = ("job", "node", "owner", "pid")

    def __init__(self, node: str, job: str, pid: int, owner: int | None) -> None:
        self.node = node
        self.job = job
        self.pid = pid
        self.owner = owner


def steps_here(spool: str) -> list[Step] | None:
    """The steps that run on this machine, of all its slurmd; None when that cannot be told.

    ``spool`` is SlurmdSpoolDir, in which ``%n`` stands for any node's name.
    """
    try:
        return [step for directory in _directories(spool) for step in _steps_in(directory)]
    except OSError:
        return None


def runs_as(uid: int, spool: str, known: set[tuple[str, str]]) -> bool | None:
    """Whether a Slurm job step on this machine is ``uid``'s or runs something as ``uid``; None: not to be told.

    A process belongs to the step whose slurmstepd is among its ancestors.  ``known`` are the jobs, as
    (node, job), that the local register says to be another account's: theirs may be between two processes.
    """
    steps = steps_here(spool)
    if steps is None:
        return None
    processes = {process.pid: process for process in proc.everyone()}
    uids: dict[int, set[int]] = {step.pid: set() for step in steps}
    # Those that the spool does not show: it was moved, or site.yaml names another one.
    uids.update((process.pid, set()) for process in processes.values() if _is_daemon(process))
    for process in processes.values():
        if daemon := _ancestor_among(uids, process, processes):
            uids[daemon].update((process.real_uid, process.effective_uid))
    if any(uid == step.owner for step in steps) or any(uid in below for below in uids.values()):
        return True
    for step in steps:
        belongs_to_others = step.owner is not None or uids[step.pid] - {0} or (step.node, step.job) in known
        if not belongs_to_others:
            return None
    return False


def _directories(spool: str) -> list[str]:
    """The spool directory of each slurmd of this machine."""
    before, pattern, after = spool.partition("%n")
    if not pattern:
        return [spool]
    parent, prefix = os.path.split(before)
    suffix, slash, below = after.partition("/")
    found = []
    for name in os.listdir(parent):
        node = name[len(prefix) : len(name) - len(suffix)]
        if node and name == prefix + node + suffix:
            found.append(f"{parent}/{name}{slash}{below.replace('%n', node)}")
    return [path for path in found if os.path.isdir(path)]


def _steps_in(directory: str) -> list[Step]:
    steps = []
    for name in os.listdir(directory):
        # A node's name may hold "_" and, as a host's full name, "."; a job's and a step's number hold neither.
        node, _, numbers = name.rpartition("_")
        job, dot, step = numbers.partition(".")
        if not (node and dot and job.isdigit() and step.replace(".", "", 1).isdigit()):
            continue
        path = f"{directory}/{name}"
        if pid := _listener(path):
            steps.append(Step(node, job, pid, _script_owner(directory, job)))
    return steps


def _listener(path: str) -> int:
    """The pid that listens on a socket; 0 when none does any more (a dead slurmstepd) or it is no socket."""
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
