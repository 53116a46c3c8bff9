"""Who sent a message, as far as the kernel says; what the message says of its sender counts for nothing.

SO_PEERCRED tells who called connect(2), and SO_PEERPIDFD (Linux 6.5) holds that very process; before that one with its
number is opened, and must be older than the connection, and of that uid.  The process is read below one descriptor, and
counts only if it has not ended by then.  Whose job it is in, its ancestors say: the nearest that root runs from a file
in ``prune.daemons`` and that starts jobs.  A condor_starter must itself descend from root's condor_startd or
condor_master; who runs a pool of their own, a glidein, has starters of their own.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from _socket import SO_PEERCRED, SOL_SOCKET, socket

from gridwarden import proc
from gridwarden.agent_client import PEER_CREDENTIALS_BYTES
from gridwarden.batch import question
from gridwarden.hooks.pilot.job_of import DEBIANS, MOST_ANCESTORS, STARTERS

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.proc import Process

SO_PEERPIDFD = 77  # <asm-generic/socket.h>; Python has no name for it
FOREIGN = -1  # in place of the uid of who is in a user namespace: one person has 65536 uids there (subuid(5))
OUR_USERS = os.stat("/proc/self/ns/user").st_ino
CONDOR_STARTER = "condor_starter"
CONDOR_ABOVE = frozenset(["condor_startd", "condor_master"])
LONGEST_GROUP = 512


class Sender:
    """A process that has connected, as it was when its message came.

    ``start`` is in clock ticks since boot.  ``starter`` is what started its job, called ``starter_name`` (without a
    path); None where nothing did that can be believed, and ``why`` says why.  ``parent`` is known where ``starter`` is.
    """

    __slots__ = ("cgroup", "command", "parent", "pid", "start", "starter", "starter_name", "uid", "why")

    def __init__(self, pid: int, uid: int, why: str = "") -> None:
        self.pid = pid
        self.uid = uid
        self.start = 0
        self.command = ""
        self.cgroup = ""
        self.parent: Process | None = None
        self.starter: Process | None = None
        self.starter_name = ""
        self.why = why


def peer_of(connection: socket) -> tuple[int, int]:
    """The pid (0: in no pid namespace of ours) and the effective uid of who connected; raises OSError."""
    peer = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, PEER_CREDENTIALS_BYTES)
    return int.from_bytes(peer[:4], sys.byteorder), int.from_bytes(peer[4:8], sys.byteorder)


def whose_limits(pid: int, uid: int) -> int:
    """The uid whose limits count for a process that has connected; FOREIGN for who is in a user namespace, or gone."""
    try:
        return uid if os.stat(f"/proc/{pid}/ns/user").st_ino == OUR_USERS else FOREIGN
    except OSError:
        return FOREIGN


def look(connection: socket, pid: int, uid: int, connected: float, daemons: list[str]) -> Sender:
    """Who is at the other end; ``connected`` is when that was seen first, in seconds of the boot-time clock."""
    sender = Sender(pid, uid)
    try:
        held = _hold(connection, pid)
    except OSError as error:
        return Sender(pid, uid, f"it had ended already, or cannot be seen ({(error.strerror or str(error)).lower()})")
    try:
        directory = proc.open_directory(pid)
        try:
            process = proc.read_below(directory)
            if process is None or _has_ended(held):
                return Sender(pid, uid, "it had ended already")
            sender.start, sender.command = process.start, process.command
            sender.cgroup = " ".join(proc.cgroups_below(directory, process))[:LONGEST_GROUP]
            if {process.real_uid, process.effective_uid, process.saved_uid} != {uid}:
                sender.why = "it has several uids"
            elif process.start / proc.TICKS > connected + 1 / proc.TICKS:
                sender.why = "its pid was another process's when it connected"
            else:
                _find_starter(sender, process, daemons)
            if _has_ended(held):
                sender.starter, sender.why = None, "it ended while it was looked at"
        finally:
            os.close(directory)
    except (FileNotFoundError, ProcessLookupError):
        sender.starter, sender.why = None, "it had ended already"
    finally:
        os.close(held)
    return sender


def _hold(connection: socket, pid: int) -> int:
    """A pidfd of who connected; raises OSError."""
    try:
        return connection.getsockopt(SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise  # it is gone, and its number may be another's by now
        return os.pidfd_open(pid)


def _has_ended(held: int) -> bool:
    poll = select.poll()
    poll.register(held, select.POLLIN)
    return bool(poll.poll(0))


def _find_starter(sender: Sender, process: Process, daemons: list[str]) -> None:
    """Set the starter, or why there is none that can be believed."""
    above = _ancestors(process)
    if above is None:
        sender.why = "its ancestors changed while they were looked at"
        return
    known = [(one, _name(one)) for one in above if question.is_daemon(one, daemons)]
    for place, (one, name) in enumerate(known):
        if name not in STARTERS:
            continue
        if name == CONDOR_STARTER and not any(other in CONDOR_ABOVE for _, other in known[place + 1 :]):
            sender.why = "its condor_starter is not below root's own condor_startd"
        elif any(between.real_uid != sender.uid for between in above[: above.index(one)]):
            sender.why = "another account's process lies between it and its batch daemon"
        else:
            sender.starter, sender.starter_name, sender.parent = one, name, above[0]
        return
    sender.why = "no batch daemon of root's started it"


def _ancestors(process: Process) -> list[Process] | None:
    """Those above a process, nearest first; None when one lost its parent while they were read.

    Who loses its parent gets another, so a parent that was still there when its child was read again was it all along.
    """
    found: list[Process] = []
    while process.parent > 0 and len(found) < MOST_ANCESTORS:
        parent = proc.read(process.parent)
        again = proc.read(process.pid)
        if parent is None or again is None or (again.start, again.parent) != (process.start, process.parent):
            return None
        found.append(parent)
        process = parent
    return found


def _name(process: Process) -> str:
    return os.path.basename(question.executable(process.pid).removesuffix(" (deleted)")).removesuffix(DEBIANS)


def now() -> float:
    """Seconds of the boot-time clock, which nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
