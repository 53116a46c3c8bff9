"""Whether a scan of /proc has missed somebody, by the kernel's own counts, which miss nobody.

A process that forks and exits at once is nearly never there when a scan comes to its number.  Two counts show
it all the same: that of the pids given out (``births``), and that of the processes of a user, which fork(2) compares
with RLIMIT_NPROC.
"""

from __future__ import annotations

import os
import resource

from gridwarden import proc
from gridwarden.become import as_account
from gridwarden.prune.births import Births
from gridwarden.prune.signals import key

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container

    from gridwarden.prune.signals import Key, Uids

CHILD_SECONDS = 1  # a child that has been stopped costs no more
LIMIT = resource.RLIMIT_NPROC
HIDDEN = "the kernel counts more than /proc shows: they fork too fast to be seen, or are in another pid namespace"


class Scan:
    """The processes of an account, ``alive``, from one pass over /proc.

    ``tasks`` are those that the kernel's count of the user's processes has, with how many each makes up: threads
    and zombies count.  ``shared`` are those of the account's uids that a process of somebody else keeps as its saved
    uid: kill(2) lets them signal it.
    """

    __slots__ = ("_births", "alive", "shared", "tasks")

    def __init__(self, uids: Uids) -> None:
        self._births = Births()
        owners = proc.by_owner()
        pids = [pid for (real, _, _), some in owners.items() if real in uids for pid in some]
        found = [process for process in map(proc.read, pids) if process]
        self.alive = [process for process in found if process.real_uid in uids and not process.has_ended()]
        self.tasks = {key(process): process.threads for process in found if process.real_uid == uids.own}
        self.shared = {saved for real, _, saved in owners if real not in uids and saved in uids}

    def is_whole(self) -> bool:
        """Whether nobody was born since the scan began, so that it has missed nobody."""
        return self._births.none_since()


def are_all(uids: Uids, gid: int, known: Container[Key]) -> bool:
    """Whether it is certain that the account has no process but these."""
    scan = Scan(uids)
    if not all(key(process) in known for process in scan.alive):
        return False
    if scan.is_whole():
        return True
    if any(process.real_uid != uids.own for process in scan.alive):
        return False  # one with a lent uid may be counted as the account's, or not
    # Those that are there before and after were there meanwhile, and left no room for another in the count.
    return has_no_more(uids.own, gid, sum(scan.tasks.values())) and scan.tasks.items() <= Scan(uids).tasks.items()


def has_no_more(uid: int, gid: int, others: int) -> bool:
    """Whether it is certain that a user has no more processes and threads than ``others``."""

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
