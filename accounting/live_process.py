"""Follow a living process up through its ancestors, by what the kernel says."""

from __future__ import annotations

from typing import NamedTuple

import psutil

from gridwarden.times import MICROSECONDS


class LiveProcess(NamedTuple):
    """A process: ``started`` in microseconds since the epoch; its ancestors' pids, the parent first."""

    pid: int
    uid: int
    user: str
    command: str
    started: int
    ancestors: tuple[int, ...]


def look(pid: int) -> LiveProcess | None:
    """Return the process ``pid``, or None when there is none.

    psutil follows a parent only when it is older than its child, so a pid that was used again is not taken
    for an ancestor; at the end it is asked once more whether all this was about one process.
    """
    try:
        process = psutil.Process(pid)
        found = LiveProcess(
            pid=pid,
            uid=process.uids().real,
            user=process.username(),
            command=process.name(),
            started=round(process.create_time() * MICROSECONDS),
            ancestors=tuple(ancestor.pid for ancestor in process.parents()),
        )
    except psutil.NoSuchProcess:
        return None
    return found if process.is_running() else None
