"""Whether a scan of /proc has missed somebody, by the kernel's own counts, which miss nobody.

A process that forks and exits at once is nearly never there when a scan comes to its number.  Two counts show
it all the same: that of the processes of a user, which fork(2) compares with RLIMIT_NPROC, and that of the pids
given out, whose last one (proc_loadavg(5)) stays the same while nobody forks.
"""

from __future__ import annotations

import os
import resource

from gridwarden import proc
from gridwarden.become import as_account
from gridwarden.prune.signals import acts_as, key

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container

    from gridwarden.prune.signals import Key

CHILD_SECONDS = 1  # a child that has been stopped costs no more
ALL_PIDS = 1000  # fewer than any machine has (pid_max less 300), so that no pid comes twice within so many forks
LIMIT = resource.RLIMIT_NPROC
HIDDEN = "the kernel counts more than /proc shows: they fork too fast to be seen, or are in another pid namespace"


class Scan:
    """The processes of an account, ``alive``, from one pass over /proc.

    ``tasks`` are those that the kernel's count of the user's processes has, with how many each makes up: threads
    and zombies count.  ``is_whole``: nobody was born meanwhile, so nobody was missed.
    """

    __slots__ = ("alive", "is_whole", "tasks")

    def __init__(self, uid: int) -> None:
        births = Births()
        pids = [pid for uids, pids in proc.by_owner().items() if uid in uids for pid in pids]
        found = [process for process in map(proc.read, pids) if process]
        self.is_whole = births.none_since()
        self.alive = [process for process in found if acts_as(uid, process) and not process.has_ended()]
        self.tasks = {key(process): process.threads for process in found if process.real_uid == uid}


def are_all(uid: int, gid: int, known: Container[Key]) -> bool:
    """Whether it is certain that the account has no process but these."""
    scan = Scan(uid)
    if not all(key(process) in known for process in scan.alive):
        return False
    if scan.is_whole:
        return True
    # Those that are there before and after were there meanwhile, and left no room for another in the count.
    return _has_no_more(uid, gid, sum(scan.tasks.values())) and scan.tasks.items() <= Scan(uid).tasks.items()


def _has_no_more(uid: int, gid: int, others: int) -> bool:
    def tell(report: int) -> None:
        os.write(report, b"more" if has_company(others) else b"no more")

    try:
        return as_account(uid, gid, [], tell, CHILD_SECONDS) == (b"no more", True)
    except BlockingIOError:
        return False  # every pid is taken


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


class Births:
    """What tells whether a process was born in this pid namespace since this was made."""

    __slots__ = ("_forks", "_last")

    def __init__(self) -> None:
        self._last = _last_pid()
        self._forks = _forks()

    def none_since(self) -> bool:
        """Whether there was none: the last pid is the same, and not because all others were given out meanwhile."""
        return _last_pid() == self._last and _forks() - self._forks < ALL_PIDS


def _last_pid() -> bytes:
    return _read("/proc/loadavg").split()[4]


def _forks() -> int:
    """How many processes and threads the machine has started since boot, in all pid namespaces."""
    return int(_read("/proc/stat").partition(b"\nprocesses ")[2].split()[0])


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
