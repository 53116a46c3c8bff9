"""Processes of this machine that the agent has put down, and nobody has collected yet: its files, read once for all that is asked."""

from __future__ import annotations

import errno
import os
import re
import resource
from array import array
from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

from gridwarden import exit_lines, trusted
from gridwarden.accounting.job_names import of_node
from gridwarden.accounting.process_records import Process
from gridwarden.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST = 64 << 20  # bytes of a file, as many as a collector takes
LONGEST_LINE = 1 << 16
SPARE_FILES = 256
_LINE = re.compile(rb"(?m)^\d{1,20}\t\d{1,20}\t\d{1,20}\t(\d{1,9})\t(\d{1,9})\t")
_BITS = 32  # of a line's place in a key; before them stands a pid


class FreshExits:
    """The files below ``directory``; without them, or where they may not be read, there are no processes.

    An index of numbers, 24 bytes a line, since a user's processes may be two million, and each question asks for the ancestors
    and descendants of others.  The files stay open: one that a collector takes meanwhile may not be in the store yet as it is seen here.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of_pid(self, pid: int) -> list[Process]:
        """Return the processes that had the pid."""
        return list(self._found(self._read.by_pid, pid))

    def of_parent(self, pid: int) -> list[Process]:
        """Return the processes whose parent had the pid when they ended."""
        return list(self._found(self._read.by_parent, pid))

    def close(self) -> None:
        """Let go of the files."""
        if index := self.__dict__.pop("_read", None):
            index.close()

    @cached_property
    def _read(self) -> _Index:
        index = _Index()
        for file in _files(self._directory):
            index.add(file)
        index.sort()
        return index

    def _found(self, keys: array[int], pid: int) -> Iterator[Process]:
        place = bisect_left(keys, pid << _BITS)
        while place < len(keys) and keys[place] >> _BITS == pid:
            process = self._read.process(keys[place] & (1 << _BITS) - 1)
            if process is not None:
                yield process
            place += 1


class _Index:
    """Lines by number: where they are, and sorted keys of their pids and parents with that number."""

    def __init__(self) -> None:
        self._files: list[int] = []
        self._first: list[int] = []  # each file's first line, by number
        self._places = array("I")
        self.by_pid, self.by_parent = array("Q"), array("Q")

    def add(self, file: int) -> None:
        """Take the lines of an open file, which is kept."""
        self._files.append(file)
        self._first.append(len(self._places))
        data = _read(file, LARGEST, 0)
        for number, match in enumerate(_LINE.finditer(data), len(self._places)):
            self._places.append(match.start())
            self.by_pid.append(int(match[1]) << _BITS | number)
            self.by_parent.append(int(match[2]) << _BITS | number)

    def sort(self) -> None:
        """Make ready what is asked for."""
        self.by_pid = array("Q", sorted(self.by_pid))
        self.by_parent = array("Q", sorted(self.by_parent))

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop())

    def process(self, number: int) -> Process | None:
        """Return the process of a line, None for one that is none: the collector says so."""
        at = bisect_left(self._first, number + 1) - 1
        try:
            node, cluster, _ = exit_lines.parse_heading(_line(self._files[at], 0))
            numbers, batch, job, known_by, command = exit_lines.parse(_line(self._files[at], self._places[number]))
        except ValueError:
            return None
        _, end, start, pid, parent, uid, *_ = numbers
        named = of_node(batch, cluster if job else "", job)
        return Process(node, pid, start, end, 1, parent, uid, command, "", *named, known_by)


def _line(file: int, place: int) -> bytes:
    """Return the line at a place; raises ValueError for one without an end."""
    data = _read(file, LONGEST_LINE, place)
    return data[: data.index(b"\n")]


def _read(file: int, most: int, place: int) -> bytes:
    """Return what a file holds from a place on; nothing where it cannot be read: the collector says so."""
    try:
        return os.pread(file, min(os.fstat(file).st_size, most), place)
    except OSError:
        return b""


def _files(directory: Path) -> Iterator[int]:
    """Open each file that is there now, the oldest first; raises Unavailable where these are too many."""
    try:
        spool = trusted.open_directory(directory)
    except (OSError, ConfigurationError):
        return
    try:
        names = [name for name in os.listdir(spool) if name == exit_lines.CURRENT or name.endswith(exit_lines.SUFFIX)]
        _let_open(len(names))
        for name in sorted(names):
            try:
                yield os.open(name, trusted.OPEN_FLAGS, dir_fd=spool)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    message = f"{directory}: {len(names)} files cannot be open at once"
                    raise Unavailable(message, "gridwarden collect --evidence takes them") from error
                # collected meanwhile, or none of the agent's
    finally:
        os.close(spool)


def _let_open(files: int) -> None:
    """Let this process have so many more files open than it has now, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if (wanted := files + SPARE_FILES) > soft != resource.RLIM_INFINITY:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
