"""What is to be remembered of processes that are about to be killed, as records have it.

Whoever reads a command line waits while its process hangs in the kernel and holds the lock of its memory, as
one may on a dead file server.  So a child of ours reads them, and is given up when it does not come back.
"""

from __future__ import annotations

import os

from gridwarden import child, proc
from gridwarden.prune import command_line

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.records import Value

    CommandLines = dict[tuple[int, int], bytes]


def command_lines(processes: list[proc.Process], seconds: float) -> CommandLines:
    """(pid, start) -> command line, secrets and all; without those that are gone or cannot be read."""
    found: CommandLines = {}
    if processes:
        report, _ = child.run(_tell(processes), seconds)
        _enter(report, processes, found)
    return found


def fields(process: proc.Process, lines: CommandLines) -> dict[str, Value]:
    """What a record says of a process."""
    return {
        "pid": process.pid,
        "process_start": process.started(),
        "parent": process.parent,
        "command": process.command,
        "arguments": arguments(process, lines),
        "cpu": process.cpu,
    }


def arguments(process: proc.Process, lines: CommandLines) -> str | None:
    """Its command line without secrets; None where it was not read.  Time for this is when it has been killed."""
    line = lines.get((process.pid, process.start))
    return None if line is None else command_line.shown(line)


def _tell(processes: list[proc.Process]) -> Callable[[int], None]:
    """Work that reports each process: the length of its command line, -1 if it is gone, a newline, the bytes."""

    def tell(writing: int) -> None:
        for process in processes:
            data = _command_line(process)
            os.write(writing, b"-1\n" if data is None else b"%d\n%b" % (len(data), data))

    return tell


def _enter(report: bytes, processes: list[proc.Process], found: CommandLines) -> None:
    """Enter what was reported, of the first processes or of all."""
    at = 0
    for process in processes:
        newline = report.find(b"\n", at)
        length = int(report[at:newline]) if newline != -1 else -1
        at = newline + 1 + max(length, 0)
        if newline == -1 or at > len(report):
            return
        if length >= 0:
            found[process.pid, process.start] = report[newline + 1 : at]


def _command_line(process: proc.Process) -> bytes | None:
    """The first bytes of its command line; None when it has ended."""
    try:
        directory = proc.open_directory(process.pid)
        try:
            now = proc.read_below(directory)
            if now is None or now.start != process.start:
                return None
            descriptor = os.open("cmdline", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            try:
                return os.read(descriptor, command_line.LONGEST_READ)
            finally:
                os.close(descriptor)
        finally:
            os.close(directory)
    except (FileNotFoundError, ProcessLookupError):
        return None
