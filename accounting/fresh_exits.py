"""Processes of this machine that the agent has put down, and nobody has collected yet: lines of files, looked through anew."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from gridwarden import exit_lines, trusted
from gridwarden.accounting.process_records import Process
from gridwarden.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 64 << 20  # bytes of a file, as many as a collector takes


def of_pid(directory: Path, pid: int) -> list[Process]:
    """Return the processes that had the pid; none where there are no such files, or they may not be read."""
    return _matching(directory, rb"(?m)^\d+\t\d+\t\d+\t%d\t.*$" % pid)


def of_parent(directory: Path, pid: int) -> list[Process]:
    """Return the processes whose parent had the pid when they ended."""
    return _matching(directory, rb"(?m)^\d+\t\d+\t\d+\t\d+\t%d\t.*$" % pid)


def _matching(directory: Path, pattern: bytes) -> list[Process]:
    wanted = re.compile(pattern)
    try:
        spool = trusted.open_directory(directory)
    except (OSError, ConfigurationError):
        return []
    try:
        names = [name for name in os.listdir(spool) if name == exit_lines.CURRENT or name.endswith(exit_lines.SUFFIX)]
        return [process for name in sorted(names) for process in _of_file(spool, name, wanted)]
    finally:
        os.close(spool)


def _of_file(spool: int, name: str, wanted: re.Pattern[bytes]) -> list[Process]:
    try:
        with open(os.open(name, trusted.OPEN_FLAGS, dir_fd=spool), "rb") as file:
            data = file.read(LARGEST)
    except OSError:
        return []  # collected meanwhile
    heading, _, lines = data.partition(b"\n")
    found: list[Process] = []
    for match in wanted.finditer(lines):
        try:
            node, cluster, _ = exit_lines.parse_heading(heading)
            numbers, batch, job, known_by, command = exit_lines.parse(match[0])
        except ValueError:
            continue  # the collector says so
        _, end, start, pid, parent, uid, *_ = numbers
        found.append(
            Process(node, pid, start, end, 1, parent, uid, command, "", batch, cluster if job else "", job, known_by)
        )
    return found
