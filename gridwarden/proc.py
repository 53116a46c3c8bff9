"""Processes as /proc shows them, read so that what they write about themselves cannot mislead.

The formats are those of proc_pid_stat(5) and proc_pid_status(5).  A command name may hold ``) R 1``, so stat
is split at its last parenthesis; the owner of /proc/PID is not the process's uid when it is setuid or not
dumpable, so the uids come from status.
"""

from __future__ import annotations

import os
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """One process: ``start`` is its start time in clock ticks since boot, which with ``pid`` names it."""

    __slots__ = ("command", "effective_uid", "parent", "pid", "real_uid", "session", "start", "state")

    def __init__(
        self,
        *,
        pid: int,
        parent: int,
        session: int,
        start: int,
        state: str,
        command: str,
        real_uid: int,
        effective_uid: int,
    ) -> None:
        self.pid = pid
        self.parent = parent
        self.session = session
        self.start = start
        self.state = state
        self.command = command
        self.real_uid = real_uid
        self.effective_uid = effective_uid

    def started(self) -> int:
        """The start time in microseconds since the epoch, to a clock tick."""
        boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return boot // 1000 + self.start * 1_000_000 // TICKS


def read(pid: int) -> Process | None:
    """The process ``pid``, or None when there is none (any more)."""
    try:
        stat = _read(f"/proc/{pid}/stat")
        status = _read(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse(stat, status)


def parse(stat: bytes, status: bytes) -> Process | None:
    """The process that these two files describe; None when they were cut short by its end."""
    opening, closing = stat.find(b"("), stat.rfind(b")")
    fields = stat[closing + 2 :].split()
    uids = status.partition(b"\nUid:")[2].split(maxsplit=2)
    if opening == -1 or len(fields) < 20 or len(uids) < 2:
        return None
    return Process(
        pid=int(stat[:opening]),
        parent=int(fields[1]),
        session=int(fields[3]),
        start=int(fields[19]),
        state=fields[0].decode("ascii"),
        command=stat[opening + 1 : closing].decode("utf-8", "surrogateescape"),
        real_uid=int(uids[0]),
        effective_uid=int(uids[1]),
    )


def everyone() -> list[Process]:
    """All processes that /proc shows in one pass; those that fork and exit meanwhile may be missed."""
    found = (read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process]


def owned_by(uid: int) -> list[Process]:
    """The processes whose real or effective uid is ``uid``, zombies left out."""
    return [
        process
        for process in everyone()
        if uid in (process.real_uid, process.effective_uid) and process.state not in "ZX"
    ]


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 16384)
    finally:
        os.close(descriptor)
