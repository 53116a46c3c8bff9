"""Give a directory, with what is in it, from one account to another, and back: a pilot's scratch to its payload.

Only what the one owns is given to the other, and others whom its last owner had let in, by its mode or by access control
lists (acl(5)), can change nothing of it any more: they may still stand there.  Everything is opened first, and what is
open is judged and given: a name that leads elsewhere meanwhile gives nobody anything.  Links are never followed, mounts
never crossed; what others own, has more names than one or is a device is left alone.  A child of ours does it, so that a
file system that hangs costs its time and no more.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from gridwarden import child
from gridwarden.prune.descent import Descent
from gridwarden.prune.files import OPEN_DIRECTORY
from gridwarden.prune.mounts import mount_of
from gridwarden.prune.remove import refuse_late
from gridwarden.trusted import WRITABLE_BY_OTHERS

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.prune.files import Left

OPEN_AS_IT_IS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
ACCESS_LIST, DEFAULT_LIST = "system.posix_acl_access", "system.posix_acl_default"
NO_LIST = (errno.ENODATA, errno.EOPNOTSUPP)
HANGING_SECONDS = 0.5  # beyond its time for a child that ends by itself
TOP_SECONDS = 2.0  # for the directory alone
MOST_NAMED = 100
LONGEST_NAMED = 1000  # bytes of a path, which can be longer than any record
MORE = "*"
NOT_IN_TIME = "not reached in time"
OTHERS = "belongs to neither, and stays"
LINKED = "has other names, which may be anywhere, and stays"
DEVICE = "is a device, and stays"
MOUNTED = "another file system is mounted there"


class Giving:
    """From which uid to which uid and gid, for at most ``seconds``; ``directory_last``: so that who gets it waits, though no longer than that."""

    __slots__ = ("directory_last", "gid", "seconds", "source", "uid")

    def __init__(self, source: int, uid: int, gid: int, seconds: float, *, directory_last: bool) -> None:
        self.source = source
        self.uid = uid
        self.gid = gid
        self.seconds = seconds
        self.directory_last = directory_last


def change_owner(top: int, giving: Giving) -> Left:
    """Give the open directory ``top`` and all below it; (what below it, why it is left) of what is not given.

    The last may be ``(".", why)``, where not everything was reached, or ``("*", how many more)``.  Neither account is
    asked, and either may work in there meanwhile.
    """
    report, finished = child.run(_giver(top, giving), giving.seconds + HANGING_SECONDS)
    lines = [line.partition(b"\0") for line in report.split(b"\0\0")[:-1]]
    left = [(os.fsdecode(path), why.decode("utf-8", "replace")) for path, _, why in lines]
    if not finished:
        left.append((".", NOT_IN_TIME))
        if giving.directory_last:  # with the directory itself its owner can at least go in
            child.run(lambda _: _give(top, giving), TOP_SECONDS)
    return left


def _giver(top: int, giving: Giving) -> Callable[[int], None]:
    """Work that reports ``PATH``, a zero byte, why it is left, and two zero bytes for each of the first hundred."""

    def work(report: int) -> None:
        named = 0

        def leave(path: list[str], why: str) -> None:
            nonlocal named
            named += 1
            if named <= MOST_NAMED:
                shown = os.fsencode("/".join(path) or ".")
                if len(shown) > LONGEST_NAMED:
                    shown = shown[:LONGEST_NAMED] + b"..."
                os.write(report, shown + b"\0" + why.encode() + b"\0\0")

        try:
            _give_all(os.open(".", OPEN_DIRECTORY, dir_fd=top), giving, leave)
        except OSError as error:
            named = 0
            leave([], (error.strerror or str(error)).lower())
        if named > MOST_NAMED:
            more = named - MOST_NAMED
            named = 0
            leave([MORE], f"{more} more are left")

    return work


def _give_all(top: int, giving: Giving, leave: Callable[[list[str], str], None]) -> None:
    deadline = time.monotonic() + giving.seconds
    mount = mount_of(top)
    if not giving.directory_last:
        _give(top, giving)
    descent = Descent(top)
    path: list[str] = []
    waiting = [os.listdir(top)]  # of each directory on the way down, what is still to be given
    try:
        while True:
            refuse_late(deadline)
            if not waiting[-1]:
                waiting.pop()
                if not waiting:
                    break
                descent.up()
                path.pop()
                continue
            name = waiting[-1].pop()
            try:
                below = _give_one(descent.directory, name, mount, giving)
            except FileNotFoundError:
                continue
            except OSError as error:
                leave([*path, name], (error.strerror or str(error)).lower())
                continue
            if below is not None:
                waiting.append(os.listdir(below))
                descent.down(name, below)
                path.append(name)
    finally:
        descent.close()
        if giving.directory_last:
            _give(top, giving)


def _give_one(parent: int, name: str, mount: bytes, giving: Giving) -> int | None:
    """Give one entry; a directory comes back open.  Raises OSError, with why, for what is left."""
    descriptor = os.open(name, OPEN_AS_IT_IS, dir_fd=parent)
    try:
        status = os.fstat(descriptor)
        if mount_of(descriptor) != mount:
            raise OSError(0, MOUNTED)
        if status.st_uid not in (giving.source, giving.uid):
            raise OSError(0, OTHERS)
        if stat.S_ISDIR(status.st_mode):
            _give(descriptor, giving)
            return os.open(".", OPEN_DIRECTORY, dir_fd=descriptor)
        if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
            raise OSError(0, DEVICE)
        if status.st_nlink > 1:
            raise OSError(0, LINKED)
        _give(descriptor, giving)
        return None
    finally:
        os.close(descriptor)


def _give(descriptor: int, giving: Giving) -> None:
    """Give what is open, if it is still the giver's; the kernel takes set-uid, set-gid and capabilities off a file."""
    status, path = os.fstat(descriptor), f"/proc/self/fd/{descriptor}"
    if status.st_uid != giving.source:
        return
    os.chown(path, giving.uid, giving.gid)
    if stat.S_ISLNK(status.st_mode):
        return
    shut = WRITABLE_BY_OTHERS
    if stat.S_ISDIR(status.st_mode):
        _without_list(path, DEFAULT_LIST)
    if _without_list(path, ACCESS_LIST):
        shut |= stat.S_IRWXG  # what is shown as the group's was the most that anybody on the list had
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & shut:
        os.chmod(path, mode & ~shut)


def _without_list(path: str, name: str) -> bool:
    """Take an access control list away; whether there was one."""
    try:
        os.removexattr(path, name)
    except OSError as error:
        if error.errno in NO_LIST:
            return False
        raise
    return True
