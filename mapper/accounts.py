"""Accounts: which files of the gridmapdir are accounts of a pool, which are free, which may run anything.

An account of a pool is a regular file named as the pool and one or more digits, as in LCMAPS.  It is free
while no other name leads to its inode, and usable when the machine knows a user of that name with an
unprivileged uid of its own.
"""

from __future__ import annotations

import pwd
import stat

from gridwarden import pools, reasons
from gridwarden.errors import Refused
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from gridwarden.mapper.gridmapdir import Gridmapdir

    class Users(Protocol):
        """The system's users; the module ``pwd`` is one."""

        def getpwnam(self, name: str, /) -> pwd.struct_passwd:
            """The user of that name; raises KeyError."""

        def getpwuid(self, uid: int, /) -> pwd.struct_passwd:
            """The first user of that uid; raises KeyError."""


class UsersReadOnce:
    """The system's users, listed once; who is not in the list (LDAP need not list anybody) is asked for."""

    def __init__(self) -> None:
        listed = pwd.getpwall()
        self._by_name = {user.pw_name: user for user in reversed(listed)}
        self._by_uid = {user.pw_uid: user for user in reversed(listed)}

    def getpwnam(self, name: str) -> pwd.struct_passwd:
        """The user of that name; raises KeyError."""
        return self._by_name.get(name) or pwd.getpwnam(name)

    def getpwuid(self, uid: int) -> pwd.struct_passwd:
        """The first user of that uid; raises KeyError."""
        return self._by_uid.get(uid) or pwd.getpwuid(uid)


class Account(NamedTuple):
    """A user that may run jobs."""

    name: str
    uid: int
    gid: int


class Survey(NamedTuple):
    """The accounts of one pool in one pass over the directory."""

    free: list[str]
    names: list[str]

    @property
    def total(self) -> int:
        """How many account files the pool has."""
        return len(self.names)

    @property
    def taken(self) -> int:
        """How many of them other names lead to."""
        return len(self.names) - len(self.free)


class UsersRemembered:
    """Users of whom each is asked for once: where they stand in a long file, one question is most of a mapping."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._by_name: dict[str, pwd.struct_passwd] = {}
        self._by_uid: dict[int, pwd.struct_passwd] = {}

    def getpwnam(self, name: str) -> pwd.struct_passwd:
        """The user of that name; raises KeyError."""
        if name not in self._by_name:
            self._by_name[name] = self._users.getpwnam(name)
        return self._by_name[name]

    def getpwuid(self, uid: int) -> pwd.struct_passwd:
        """The first user of that uid; raises KeyError."""
        if uid not in self._by_uid:
            self._by_uid[uid] = self._users.getpwuid(uid)
        return self._by_uid[uid]


def usable(name: str, users: Users, *, known: bool = False) -> Account:
    """The user ``name``, not asked again whether the uid is nobody else's when that is ``known``.

    A new lease asks both ways, whatever that costs in a long passwd file: nothing else here could tell.

    Raises Refused (account-unknown, account-privileged).
    """
    try:
        user = users.getpwnam(name)
        first = name if known else users.getpwuid(user.pw_uid).pw_name
    except KeyError:
        raise Refused(
            reasons.ACCOUNT_UNKNOWN, f"{name} has no passwd entry", f"create the user {name}, or take its file away"
        ) from None
    if not pools.is_ordinary(user.pw_uid) or user.pw_gid == 0:
        raise Refused(reasons.ACCOUNT_PRIVILEGED, f"{name} has uid {user.pw_uid} and gid {user.pw_gid}")
    if first != name:  # who shares a uid shares everything
        raise Refused(reasons.ACCOUNT_UNKNOWN, f"{name} is not a user of its own: uid {user.pw_uid} is {first}")
    return Account(name, user.pw_uid, user.pw_gid)


def survey(entries: Iterable[tuple[str, int]], pool: str) -> Survey:
    """Sort the accounts of ``pool`` among (name, inode) ``entries`` into free and taken."""
    entries = list(entries)
    names: dict[int, int] = {}
    for _, inode in entries:
        names[inode] = names.get(inode, 0) + 1
    inodes = {name: inode for name, inode in entries if pools.is_of_pool(name, pool)}
    free = [name for name, inode in inodes.items() if names[inode] == 1]
    return Survey(free, list(inodes))


def account_of(directory: Gridmapdir, inode: int, probably: str | None = None) -> str | None:
    """The account whose file is ``inode``: ``probably`` it, else found in one pass; None when there is none.

    Every answer is confirmed by the file's own status.  Where a file system gives inode numbers in its
    directories that are not those of the files (some overlays and FUSE), each name is asked.
    """
    if probably and is_account(directory, probably, inode):
        return probably
    entries = [entry for entry in directory.entries() if may_be_account(entry[0])]
    likely = [name for name, number in entries if number == inode]
    names = likely or [name for name, _ in entries]
    return next((name for name in names if is_account(directory, name, inode)), None)


def may_be_account(name: str) -> bool:
    """Whether a name in the directory is neither a lease (``%2f…``) nor hidden."""
    return name[0] not in "%."


def is_account(directory: Gridmapdir, name: str, inode: int) -> bool:
    """Whether ``name`` is a regular file with that inode number."""
    status = directory.look(name)
    return status is not None and status.st_ino == inode and stat.S_ISREG(status.st_mode)
