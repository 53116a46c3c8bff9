"""The processes of pool accounts, and all that they descend from, read so that each was one process throughout.

One pass over /proc finds whose each process is; only those of pool accounts, their ancestors and the leaders
of their sessions are then read in full.
"""

from __future__ import annotations

import os

from gridwarden import proc
from gridwarden.prune.births import Births

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Container

ROUNDS = 8  # of looking again for a parent that ended while its child was read


class Seen:
    """A process with what else judging it needs.

    ``executable`` is the path that /proc/PID/exe names, ``cgroups`` the paths of its control groups.  ``file`` is the
    device and inode of that file, as far as ``Executables`` has entered it.  Where it is ``apart``, in a user
    namespace of its own, the process can choose what exe shows (PR_SET_MM_EXE_FILE of prctl(2)).
    """

    __slots__ = ("apart", "cgroups", "executable", "file", "process")

    def __init__(
        self,
        process: proc.Process,
        cgroups: tuple[str, ...] = (),
        executable: str = "",
        file: tuple[int, int] | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self.process = process
        self.cgroups = cgroups
        self.executable = executable
        self.file = file
        self.apart = apart


class Snapshot:
    """``seen`` by pid: processes of pool accounts, their ancestors and session leaders; ``accounts`` by uid.

    ``is_whole``: nobody was born meanwhile, so that nobody was missed.
    """

    __slots__ = ("accounts", "is_whole", "seen")

    def __init__(self, seen: dict[int, Seen], accounts: dict[int, str], *, is_whole: bool = True) -> None:
        self.seen = seen
        self.accounts = accounts
        self.is_whole = is_whole


def take(account_of: Callable[[int], str]) -> Snapshot:
    """Read the processes of the accounts that ``account_of`` names for their uid ("": no pool's).

    Raises Unavailable when /proc does not show everyone.
    """
    births = Births()
    owners = proc.by_owner()
    accounts = {uid: account for uid in {uid for uids in owners for uid in uids} if (account := account_of(uid))}
    seen: dict[int, Seen] = {}
    wanted = [pid for uids, pids in owners.items() if acts_as(*uids, accounts) for pid in pids]
    _read_with_ancestors(wanted, seen, accounts)
    for _ in range(ROUNDS):
        lost = [pid for pid, one in seen.items() if one.process.parent and not parent_of(one, seen)]
        if not lost:
            break
        for pid in lost:
            del seen[pid]
        _read_with_ancestors(lost, seen, accounts)
    return Snapshot(seen, accounts, is_whole=births.none_since())


def acts_as(real: int, effective: int, saved: int, accounts: Container[int]) -> int:
    """Which of ``accounts`` a process is that of, or borrows from outside them; 0 for none, and for root's own."""
    return next((uid for uid in (real, effective, saved) if uid in accounts), 0) if real else 0


def parent_of(child: Seen, seen: dict[int, Seen]) -> Seen | None:
    """The parent of ``child``; None when it has none in ``seen``, or one that only got its number."""
    parent = seen.get(child.process.parent)
    return parent if parent and parent.process.start <= child.process.start else None


def _read_with_ancestors(pids: list[int], seen: dict[int, Seen], accounts: dict[int, str]) -> None:
    """Add the processes ``pids``, each before its parent: a parent that ended meanwhile is missed, not mistaken."""
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        one = _look(pid, accounts)
        if one:
            seen[pid] = one
            waiting += (one.process.session, one.process.parent)


def _look(pid: int, accounts: dict[int, str]) -> Seen | None:
    if pid == 0:
        return None  # outside this pid namespace
    try:
        descriptor = proc.open_directory(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        process = proc.read_below(descriptor)
        if process is None:
            return None
        executable = proc.executable_below(descriptor)
        if not acts_as(process.real_uid, process.effective_uid, process.saved_uid, accounts):
            return Seen(process, executable=executable)
        apart = _is_apart(descriptor)
        return Seen(process, proc.cgroups_below(descriptor, process), executable, apart=apart)
    finally:
        os.close(descriptor)


def _is_apart(descriptor: int) -> bool:
    try:
        return os.readlink("ns/user", dir_fd=descriptor) != os.readlink("/proc/self/ns/user")
    except OSError:
        return False  # it has ended
