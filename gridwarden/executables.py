"""Which files programs are, and which of them processes execute, without waiting for a file system that is dead.

Looking a path up may wait for a mount that does not answer (NFS, FUSE), and so may stat of /proc/PID/exe, which users
can put on a file system that they serve themselves, or not.  Readlink only names the file, and the name proves nothing:
another file can have it in a mount namespace, and a process there can have the kernel show that file for another one
that shares its memory (PR_SET_MM_EXE_FILE of prctl(2)).  So a child of ours asks for device and inode, of a process by
what the kernel knows already (AT_STATX_DONT_SYNC of statx(2)), and is given up when it does not come back; ask only of
processes that show the right name.
"""

from __future__ import annotations

import os
import sys
import time

from gridwarden import child, proc

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.proc import Process

    File = tuple[int, int]  # device and inode
    Question = tuple[str, Process | None]  # the file at a path, or the one that a process executes and that has it

PATIENCE_SECONDS = 1.0  # with one file
MOST_SECONDS = 5.0  # with all paths at once; with all processes in a run
UNTOLD = (-1, -1)  # the file of a process, or at a path, where the file system did not answer
NO_FILE = (0, 0)
NO_FILES = frozenset([NO_FILE, UNTOLD])
AT_STATX_DONT_SYNC, STATX_INO = 0x4000, 0x100  # statx(2), and where its answer has them:
STATX_BYTES, INODE, MAJOR, MINOR = 256, slice(32, 40), slice(136, 140), slice(140, 144)


class Patience:
    """What is left of the seconds for processes, and the paths that did not answer, which are not asked for again."""

    __slots__ = ("seconds", "silent")

    def __init__(self) -> None:
        self.seconds = MOST_SECONDS
        self.silent: set[str] = set()


RUN = Patience()  # a program of ours is one run, however often it looks


def resolve(paths: Iterable[str]) -> dict[str, tuple[str, File]]:
    """The real path of each path and the file there (NO_FILE: none, UNTOLD: no answer, and the path as it was)."""
    wanted = list(dict.fromkeys(paths))
    told = _ask_each([(path, None) for path in wanted], MOST_SECONDS)
    found = {
        path: (os.fsdecode(one[1]), one[0]) if one else (path, UNTOLD) for path, one in zip(wanted, told, strict=True)
    }
    RUN.silent.update(real for real, file in found.values() if file == UNTOLD)
    return found


def of_processes(processes: list[tuple[str, Process]]) -> list[File]:
    """The file that each process executes (NO_FILE: it has ended or may not be looked at, UNTOLD: no answer).

    Each with the path that /proc shows for it.  All calls of a run together take at most MOST_SECONDS.
    """
    began = time.monotonic()
    told = _ask_each(list(processes), RUN.seconds)
    RUN.seconds -= time.monotonic() - began
    return [one[0] if one else UNTOLD for one in told]


def _ask_each(questions: list[Question], seconds: float) -> list[tuple[File, bytes] | None]:
    """What a child tells of each; None where it hangs, for what has the same path, and for all that is out of time."""
    deadline = time.monotonic() + seconds
    told: list[tuple[File, bytes] | None] = [None] * len(questions)
    waiting = _worth_asking(range(len(questions)), questions)
    while waiting and (left := deadline - time.monotonic()) > 0:
        turn = [questions[place] for place in waiting]
        try:
            report, _ = child.run(lambda writing: _tell(turn, writing), min(PATIENCE_SECONDS, left))  # noqa: B023 - runs in this turn
        except BlockingIOError:
            break  # a fork bomb has taken every pid
        lines = report.split(b"\n")[:-1]
        for place, line in zip(waiting, lines, strict=False):
            device, inode, rest = line.split(b" ", 2)
            told[place] = ((int(device), int(inode)), rest)
        if not lines:
            RUN.silent.add(turn[0][0])
        waiting = _worth_asking(waiting[len(lines) :], questions)
    return told


def _worth_asking(places: Iterable[int], questions: list[Question]) -> list[int]:
    return [place for place in places if questions[place][0] not in RUN.silent]


def _tell(questions: list[Question], writing: int) -> None:
    for path, process in questions:
        os.write(writing, (_of_process(process) if process else _at_path(path)) + b"\n")


def _at_path(path: str) -> bytes:
    real = os.path.realpath(path)
    try:
        status = os.stat(path)
        file = status.st_dev, status.st_ino
    except (FileNotFoundError, NotADirectoryError):
        file = NO_FILE
    except OSError:  # its file system has failed, and may come back
        file = UNTOLD
    return b"%d %d " % file + os.fsencode(real).replace(b"\n", b"?")  # it is told of in a line


def _of_process(process: Process) -> bytes:
    try:
        descriptor = proc.open_directory(process.pid)
    except (FileNotFoundError, ProcessLookupError):
        return b"%d %d " % NO_FILE
    try:
        now = proc.read_below(descriptor)
        return b"%d %d " % (_executed(descriptor) if now and now.start == process.start else NO_FILE)
    finally:
        os.close(descriptor)


def _executed(directory: int) -> File:
    """The file that the process of an open directory executes, as far as the kernel knows it without asking."""
    import ctypes  # noqa: PLC0415 - for a child alone, since os has no statx before Python 3.15
    import errno  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(STATX_BYTES)
    if libc.statx(directory, b"exe", AT_STATX_DONT_SYNC, STATX_INO, buffer):
        not_to_be_had = ctypes.get_errno() in (errno.EPERM, errno.ENOSYS)  # a container's seccomp filter forbids it
        return UNTOLD if not_to_be_had else NO_FILE
    inode, major, minor = (int.from_bytes(buffer.raw[part], sys.byteorder) for part in (INODE, MAJOR, MINOR))
    return os.makedev(major, minor), inode
