"""Which files programs are, and which of them processes execute, without waiting for a file system that is dead.

stat follows /proc/PID/exe to a file that may be on a mount that does not answer (NFS, FUSE); readlink only names it.
The name proves nothing: another file can have it in a mount namespace, and a process there can have the kernel show
that file for another one that shares its memory (PR_SET_MM_EXE_FILE of prctl(2)).  So a child of ours asks for device
and inode, and is given up when it does not come back; ask only of processes that show the right name.
"""

from __future__ import annotations

import os
import time

from gridwarden import child, proc

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from gridwarden.proc import Process

    Item = TypeVar("Item")
    File = tuple[int, int]  # device and inode

PATIENCE_SECONDS = 1.0  # with one file
MOST_SECONDS = 5.0  # with all that are asked about at once
UNTOLD = (-1, -1)  # the file of a process, or at a path, where the file system did not answer
NO_FILE = (0, 0)
NO_FILES = frozenset([NO_FILE, UNTOLD])


def resolve(paths: Iterable[str]) -> dict[str, tuple[str, File]]:
    """The real path of each path and the file there (NO_FILE: none, UNTOLD: no answer, and the path as it was)."""
    wanted = list(dict.fromkeys(paths))
    told = _tell_each(wanted, _at_path)
    return {
        path: (os.fsdecode(one[1]), one[0]) if one else (path, UNTOLD) for path, one in zip(wanted, told, strict=True)
    }


def of_processes(processes: list[Process]) -> list[File]:
    """The file that each process executes (NO_FILE: it has ended or may not be looked at, UNTOLD: no answer)."""
    return [told[0] if told else UNTOLD for told in _tell_each(processes, _of_process)]


def _tell_each(items: list[Item], tell: Callable[[Item], bytes]) -> list[tuple[File, bytes] | None]:
    """What a child tells of each item; None for one that it hangs at, and for all that the time is over for."""
    deadline = time.monotonic() + MOST_SECONDS
    told: list[tuple[File, bytes] | None] = []
    while len(told) < len(items) and (left := deadline - time.monotonic()) > 0:
        waiting = items[len(told) :]
        try:
            report, _ = child.run(lambda writing: _tell(waiting, tell, writing), min(PATIENCE_SECONDS, left))  # noqa: B023 - runs in this turn
        except BlockingIOError:
            break  # a fork bomb has taken every pid
        for line in report.split(b"\n")[:-1]:
            device, inode, rest = line.split(b" ", 2)
            told.append(((int(device), int(inode)), rest))
        if len(told) < len(items):
            told.append(None)
    return told + [None] * (len(items) - len(told))


def _tell(items: list[Item], tell: Callable[[Item], bytes], writing: int) -> None:
    for item in items:
        os.write(writing, tell(item) + b"\n")


def _at_path(path: str) -> bytes:
    real = os.path.realpath(path)
    return _file_of(real, None) + os.fsencode(real).replace(b"\n", b"?")  # it is told of in a line


def _of_process(process: Process) -> bytes:
    try:
        descriptor = proc.open_directory(process.pid)
    except (FileNotFoundError, ProcessLookupError):
        return b"%d %d " % NO_FILE
    try:
        now = proc.read_below(descriptor)
        return _file_of("exe", descriptor) if now and now.start == process.start else b"%d %d " % NO_FILE
    finally:
        os.close(descriptor)


def _file_of(path: str, below: int | None) -> bytes:
    try:
        status = os.stat(path, dir_fd=below)
    except OSError:
        return b"%d %d " % NO_FILE
    return b"%d %d " % (status.st_dev, status.st_ino)
