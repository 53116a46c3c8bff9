"""What is to be remembered of processes that are about to be killed, as records have it.

A process can make whoever reads its command line wait for ever (its arguments may lie in a mapped file of a
file system that does not answer), so a child of ours reads, and is given up when it does not come back.
"""

from __future__ import annotations

import os
import time

from gridwarden import child, proc
from gridwarden.prune import command_line

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.records import Value

    CommandLines = dict[tuple[int, int], str]

LONGEST_READ = 4096  # bytes of a command line
PATIENCE_SECONDS = 0.5  # with a process whose command line cannot be read
MOST_HANGING = 4  # processes for which we wait in one call


def command_lines(processes: list[proc.Process], seconds: float) -> CommandLines:
    """(pid, start) -> command line without secrets; without those that are gone or cannot be read."""
    deadline = time.monotonic() + seconds
    found: CommandLines = {}
    waiting = processes
    for _ in range(MOST_HANGING):
        left = min(PATIENCE_SECONDS + len(waiting) / 1000, deadline - time.monotonic())
        if not waiting or left <= 0:
            break
        report, _ = child.run(_tell(waiting), left)
        done = _take(report, waiting, found)
        waiting = waiting[done + 1 :]  # without the one that it was reading
    return found


def fields(process: proc.Process, lines: CommandLines) -> dict[str, Value]:
    """What a record says of a process."""
    return {
        "pid": process.pid,
        "process_start": process.started(),
        "parent": process.parent,
        "command": process.command,
        "arguments": lines.get((process.pid, process.start)),
        "cpu": process.cpu,
    }


def _tell(processes: list[proc.Process]) -> Callable[[int], None]:
    """Work that reports each process: the length of its command line, -1 if it is gone, a newline, the bytes."""

    def tell(writing: int) -> None:
        for process in processes:
            data = _command_line(process)
            os.write(writing, b"-1\n" if data is None else b"%d\n%b" % (len(data), data))

    return tell


def _take(report: bytes, processes: list[proc.Process], found: CommandLines) -> int:
    """Enter what was reported of the first processes; how many that were."""
    at = 0
    for done, process in enumerate(processes):
        newline = report.find(b"\n", at)
        if newline == -1:
            return done
        length = int(report[at:newline])
        at = newline + 1 + max(length, 0)
        if at > len(report):
            return done
        if length >= 0:
            found[process.pid, process.start] = command_line.shown(report[newline + 1 : at])
    return len(processes)


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
                return os.read(descriptor, LONGEST_READ)
            finally:
                os.close(descriptor)
        finally:
            os.close(directory)
    except (FileNotFoundError, ProcessLookupError):
        return None
