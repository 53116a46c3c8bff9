"""Find what accounts own directly in scratch directories, without waiting for a file system that does not answer.

A child of ours lists each directory, so that a dead mount costs its share of the time and no more.
"""

from __future__ import annotations

import os
import time

from gridwarden import child
from gridwarden.prune import mounts

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Identity = tuple[int, int]  # device and inode
    Found = dict[int, dict[str, list[str]]]  # uid -> directory -> names in it
    Left = list[tuple[str, str]]  # what, and why it is left

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
POSIX_IPC = ("/dev/shm", "/dev/mqueue")  # noqa: S108 - these are what is to be cleaned
END = b"\0\n"  # of a report: no name is empty
IN_ONE_WRITE = 512  # entries
MOST_OF_ONE = 16 << 20  # bytes of names of one uid in one directory: they take five times that of our memory
OF_A_NAME = 100  # what one takes besides its own


def find(
    wanted: Callable[[int], bool], directories: list[str], seconds: float, spared: Collection[Identity] = ()
) -> tuple[Found, Left]:
    """What those uids that are ``wanted`` own in ``directories``: (their names there, what was not listed and why).

    A directory that is not there holds nothing; one that is named twice, or is mounted twice, is listed once.  What is
    ``spared`` is nobody's.
    """
    deadline = time.monotonic() + seconds
    found: Found = {}
    left: Left = []
    seen = set()
    for directory, report, finished in _reports(wanted, directories, deadline, spared):
        head, newline, entries = report.partition(b"\n")
        if not newline:
            left.append((directory, "does not answer"))
            continue
        identity, _, why = head.partition(b" ")
        if why:
            left.append((directory, f"cannot be listed: {why.decode()}"))
        if identity == b"-" or identity in seen:
            continue
        seen.add(identity)
        if not finished and not why:
            left.append((directory, "not listed in time"))
        left += _enter(entries, directory, found)
    return found, left


def _reports(
    wanted: Callable[[int], bool], directories: list[str], deadline: float, spared: Collection[Identity]
) -> Iterator[tuple[str, bytes, bool]]:
    """Each directory with what a child reports of it, and whether that is all.

    One child lists as many as it can: a process costs more than a listing.  Who keeps it waiting is given up, and
    another goes on behind it; what it had only begun of others is begun again, with their own share of the time.
    """
    waiting = list(directories)
    while waiting:
        seconds = share(deadline, len(waiting)) - time.monotonic()
        report, _ = child.run(_lister(waiting, wanted, spared), max(seconds, 0))
        *whole, part = report.split(END)
        for listed in whole:
            yield waiting.pop(0), listed, True
        if not whole:
            yield waiting.pop(0), part, False


def share(deadline: float, parts: int) -> float:
    """When the first of so many equal parts of the time until ``deadline`` (of time.monotonic) ends.

    Who takes the parts one by one, each of what is left by then, leaves to the others what is not used.
    """
    now = time.monotonic()
    return now + (deadline - now) / parts


def _lister(
    directories: list[str], wanted: Callable[[int], bool], spared: Collection[Identity]
) -> Callable[[int], None]:
    """Work that reports each of the directories, and ``END`` behind it."""

    def work(report: int) -> None:
        for directory in directories:
            _list(directory, wanted, spared, report)
            os.write(report, END)

    return work


def _list(directory: str, wanted: Callable[[int], bool], spared: Collection[Identity], report: int) -> None:
    """Report a line ``DEVICE:INODE`` (``- ERROR`` if it cannot), then ``UID/NAME`` and a zero byte each.

    How many more of one uid there are than are named, it reports as ``UID//NUMBER`` and a zero byte; what a uid has
    mounted there, which is not touched since it may not answer, as ``UID///NAME`` and a zero byte.
    """
    try:
        descriptor = os.open(directory, OPEN_DIRECTORY)
    except FileNotFoundError:
        os.write(report, b"-\n")
        return
    except OSError as error:
        os.write(report, f"- {error.strerror}\n".encode())
        return
    status = os.fstat(descriptor)
    os.write(report, b"%d:%d\n" % (status.st_dev, status.st_ino))
    known: dict[int, bool] = {}
    sizes: dict[int, int] = {}
    unnamed: dict[int, int] = {}
    mounted = mounts.inside(descriptor)
    lines = [b"%d///%b\0" % (uid, os.fsencode(name)) for name, uid in mounted.items() if uid > 0 and wanted(uid)]
    with os.scandir(descriptor) as entries:
        for entry in entries:
            uid = -1 if entry.name in mounted else _owner(entry, spared)
            if uid not in known:
                known[uid] = uid > 0 and wanted(uid)
            if not known[uid]:
                continue
            name = os.fsencode(entry.name)
            sizes[uid] = sizes.get(uid, 0) + len(name) + OF_A_NAME
            if sizes[uid] > MOST_OF_ONE:
                unnamed[uid] = unnamed.get(uid, 0) + 1
                continue
            lines.append(b"%d/%b\0" % (uid, name))
            if len(lines) == IN_ONE_WRITE:
                os.write(report, b"".join(lines))
                lines = []
    lines += [b"%d//%d\0" % each for each in unnamed.items()]
    os.write(report, b"".join(lines))
    os.close(descriptor)


def _owner(entry: os.DirEntry[str], spared: Collection[Identity]) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return -1  # gone meanwhile
    return -1 if (status.st_dev, status.st_ino) in spared else status.st_uid


def _enter(entries: bytes, directory: str, found: Found) -> Left:
    """Enter what a child reported, but what it did not report whole; return what was too much."""
    left = []
    for line in filter(None, entries.split(b"\0")[:-1]):
        uid, _, name = line.partition(b"/")
        if name.startswith(b"//"):
            left.append((os.path.join(directory, os.fsdecode(name[2:])), f"uid {int(uid)} has mounted something there"))
            continue
        if name.startswith(b"/"):
            left.append((directory, f"holds {int(name[1:])} more of uid {int(uid)} than one run looks at"))
            continue
        found.setdefault(int(uid), {}).setdefault(directory, []).append(os.fsdecode(name))
    return left
