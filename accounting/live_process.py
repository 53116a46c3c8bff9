"""Follow a living process up through its ancestors, by what the kernel says."""

from __future__ import annotations

import os
from typing import NamedTuple

import psutil

from gridwarden import proc


class LiveProcess(NamedTuple):
    """A process: ``started`` in microseconds since the epoch; its ancestors' pids, the parent first."""

    pid: int
    uid: int
    user: str
    command: str
    started: int
    ancestors: tuple[int, ...]


def descendants(pid: int) -> list[int]:
    """Return the pids of the process's children, and of theirs."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def look(pid: int) -> LiveProcess | None:
    """Return the process ``pid``, or None when there is none.

    psutil follows a parent only when it is older than its child, so a pid that was used again is not taken
    for an ancestor; at the end it is asked once more whether all this was about one process.
    """
    try:
        process = psutil.Process(pid)
        kernel = proc.read(pid)
        if kernel is None:
            return None
        found = LiveProcess(
            pid=pid,
            uid=kernel.real_uid,
            user=process.username(),
            command=kernel.command,
            # psutil's own figure starts from a boot time in whole seconds; kill records use this one.
            started=kernel.started(),
            ancestors=tuple(ancestor.pid for ancestor in process.parents()),
        )
    except psutil.NoSuchProcess:
        return None
    return found if process.is_running() else None


def of_session(number: int) -> list[tuple[int, int]]:
    """Return pid and start (microseconds since the epoch) of each process of a session, or process group, the oldest first."""
    found = [
        (each.started(), each.pid) for each in proc.everyone() if each.session == number or _group(each.pid) == number
    ]
    return [(pid, started) for started, pid in sorted(found)]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None  # it has ended
