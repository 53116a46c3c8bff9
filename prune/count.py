"""Whether a scan of /proc has missed somebody, by the kernel's own counts, which miss nobody.

A process that forks and exits at once is nearly never there when a scan comes to its number.  Two counts show
it all the same: that of the processes of a user, which fork(2) compares with RLIMIT_NPROC, and that of the pids
given out (the last number of proc_loadavg(5)), which stands still while nobody forks.
"""

from __future__ import annotations

import os
import resource

from gridwarden import proc
from gridwarden.prune.signals import acts_as

LIMIT = resource.RLIMIT_NPROC
HIDDEN = "the kernel counts more than /proc shows: they fork too fast to be seen, or are in another pid namespace"


class Scan:
    """The processes of an account, ``alive``, from one pass over /proc.

    ``running`` and ``ended`` are how many of the kernel's count of the user's processes, in which threads and
    zombies count, they make up.  ``is_whole``: nobody was born meanwhile, so nobody was missed.
    """

    __slots__ = ("alive", "ended", "is_whole", "running")

    def __init__(self, uid: int) -> None:
        before = last_pid()
        pids = [pid for uids, pids in proc.by_owner().items() if uid in uids for pid in pids]
        found = [process for process in map(proc.read, pids) if process]
        self.is_whole = last_pid() == before
        self.alive = [process for process in found if acts_as(uid, process) and not process.has_ended()]
        self.running = sum(process.threads for process in self.alive if process.real_uid == uid)
        self.ended = sum(process.has_ended() for process in found if process.real_uid == uid)


def has_company(others: int) -> bool:
    """Whether the user of this process has more processes and threads than this one and ``others``.

    Call it in a child that has become the account.  Those in other pid namespaces are counted as well.
    """
    hard = resource.getrlimit(LIMIT)[1]
    soft = others + 2  # itself and the one that is tried
    resource.setrlimit(LIMIT, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    try:
        child = os.fork()
    except BlockingIOError:
        return True
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return False


def last_pid() -> bytes:
    """The pid that was given out last in this pid namespace."""
    descriptor = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 256).split()[4]
    finally:
        os.close(descriptor)
