"""Process accounting files of the kernel, version 3: one record of 64 bytes a process, written when it has ended.

Source of the layout: ``struct acct_v3`` of linux/acct.h, and acct(5).  Integers are in the machine's own byte order,
which bit 7 of ``ac_version`` says; times are in ticks of 1/100 s whatever the kernel's HZ.  A ``comp_t`` is a floating
number of 13 bits and an exponent to base 8, so CPU times are cut to 10 ms below 82 s and to ever more above.
The parent is the one at the process's end: 1, or a subreaper, where the real one had ended before.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = struct.Struct("<BBHIIIIIIfHH12x16s")
VERSION = 3
FLAGS = 0x3F  # AFORK, ASU, ACOMPAT, ACORE, AXSIG and AGROUP of linux/acct.h: no other bit is ever set
MICROSECONDS_A_TICK = 10_000
LARGEST_PID = 1 << 22  # PID_MAX_LIMIT of 64-bit Linux
LONGEST_TICKS = float(1 << 43)  # more than 2 000 years, and start and end still fit into 63 bits

# node, pid, start, end, parent, uid, gid, command, user and system CPU time, wait status; times in microseconds.
Row = tuple[str, int, int, int, int, int, int, str, int, int, int]


class Odd(NamedTuple):
    """What stands in the place of ``entries`` records, and is none."""

    offset: int
    entries: int
    reason: str


class Chunk(NamedTuple):
    """What a piece of a file holds; ``length`` is how many of its bytes were understood, the rest is an unfinished record."""

    rows: list[Row]
    odd: list[Odd]
    length: int


def is_pacct(data: bytes) -> bool:
    """Say whether a file that begins with ``data`` is one of process accounting, of version 3 and little-endian."""
    return len(data) >= RECORD.size and _is_record(data, 0)


def parse(data: bytes, node: str) -> Chunk:
    """Read the whole records of processes of ``node``."""
    whole = len(data) - len(data) % RECORD.size
    data = data[:whole]
    rows = _rows(data, node)
    return Chunk(rows, [] if len(rows) * RECORD.size == whole else list(_odd(data)), whole)


def _rows(data: bytes, node: str) -> list[Row]:
    """The rows of the records; those that are none are left out."""
    expanded, commands = _EXPANDED, _COMMANDS
    return [
        (
            node,
            pid,
            begun * 1_000_000,
            begun * 1_000_000 + int(elapsed * 10_000),
            parent,
            uid,
            gid,
            commands[command],
            expanded[user],
            expanded[system],
            status,
        )
        for flag, version, _, status, uid, gid, pid, parent, begun, elapsed, user, system, command in RECORD.iter_unpack(
            data
        )
        if version == VERSION and flag <= FLAGS and 0 <= elapsed < LONGEST_TICKS and 0 < pid <= LARGEST_PID
    ]


def _odd(data: bytes) -> Iterator[Odd]:
    """Find the runs of what is no record.

    Records stay where they should be: what a full disk lets the kernel write of one ends where a page ends, so between two.
    """
    faulty = [at for at in range(0, len(data), RECORD.size) if not _is_record(data, at)]
    for _, run in itertools.groupby(enumerate(faulty), lambda each: each[1] - each[0] * RECORD.size):
        places = [at for _, at in run]
        reason = f"not a record of process accounting: {data[places[0] : places[0] + RECORD.size].hex()}"
        yield Odd(places[0], len(places), reason)


def _is_record(data: bytes, at: int) -> bool:
    flag, version, _, _, _, _, pid, _, _, elapsed, _, _, _ = RECORD.unpack_from(data, at)
    return bool(version == VERSION and flag <= FLAGS and 0 < pid <= LARGEST_PID and 0 <= elapsed < LONGEST_TICKS)


class _Commands(dict[bytes, str]):
    """Names of commands, each made out of its bytes once; a name may be any bytes, and there may be any number of them."""

    MOST = 100_000

    def __missing__(self, key: bytes) -> str:
        if len(self) >= self.MOST:
            self.clear()
        text = self[key] = key.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        return text


_EXPANDED = [((value & 0x1FFF) << (3 * (value >> 13))) * MICROSECONDS_A_TICK for value in range(1 << 16)]
_COMMANDS = _Commands()
