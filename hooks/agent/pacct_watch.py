"""The part of the agent that notices when the kernel writes no process accounting any more.

The kernel stops by itself when the file's file system is nearly full (``kernel.acct`` of acct(2): at 2 % free, looked at every 30 s;
again from 4 % on), and says so in its log alone.  Somebody may turn it off, or direct it to another file.  So a child is let
end, and its record looked for: what the kernel does with everybody's.
"""

from __future__ import annotations

import os
from struct import Struct

from gridwarden import trusted
from gridwarden.errors import ConfigurationError

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.records import Value

    Record = Callable[[str, dict[str, Value]], None]

SECONDS = 30.0
MISSES = 2  # a rotation may have come between
RECORD_BYTES = 64
PID = Struct("=16xI")  # of struct acct_v3, linux/acct.h
MOST_BYTES = 8 << 20  # records that were written meanwhile
WHAT = "process accounting"


def start(site: dict[str, list[str]], record: Record) -> Watch | None:
    """Watch the file that the node file names, if it names one."""
    path = site.get("agent_process_accounting", [""])[0]
    return Watch(path, record) if path else None


class Watch:
    """Looks every half minute; a part of the agent."""

    def __init__(self, path: str, record: Record) -> None:
        self._path = path
        self._record = record
        self._next = 0.0
        self._written = 0.0  # when a record was found last
        self._misses = 0

    def fileno(self) -> int:
        """Nothing is watched."""
        return -1

    def on_readable(self) -> None:
        """Nothing comes."""

    def on_tick(self, now: float) -> None:
        """Look; a gap is said once, and once more when it has ended."""
        if now < self._next:
            return
        self._next = now + SECONDS
        self._written = self._written or now
        why = self._why_nothing()
        if not why:
            if self._misses >= MISSES:
                self._gap(f"{self._path} is written again, after {now - self._written:.0f} seconds in which it was not")
            self._misses, self._written = 0, now
            return
        self._misses += 1
        if self._misses == MISSES:
            self._gap(f"{why}; for {now - self._written:.0f} seconds at least no process that ended is on record there")

    def figures(self) -> dict[str, float]:
        """Whether it is written."""
        return {"process_accounting_up": int(self._misses < MISSES)}

    def close(self) -> None:
        """Nothing is open."""

    def _gap(self, reason: str) -> None:
        self._record("gap", {"what": WHAT, "reason": reason, "bytes": None, "sha256": None})

    def _why_nothing(self) -> str:
        """Let a child end, and look for its record; "" when it is there."""
        before = _status(self._path)
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        try:
            descriptor = trusted.open_file(self._path)
        except (OSError, ConfigurationError) as error:
            return f"{self._path} cannot be read: {getattr(error, 'strerror', None) or error}"
        try:
            status = os.fstat(descriptor)
            begin = before[1] if before and before[0] == status.st_ino and before[1] <= status.st_size else 0
            begin = max(begin, status.st_size - MOST_BYTES)
            data = os.pread(descriptor, MOST_BYTES, begin - begin % RECORD_BYTES)
            free = os.fstatvfs(descriptor)
        finally:
            os.close(descriptor)
        whole = len(data) - len(data) % RECORD_BYTES
        if any(PID.unpack_from(data, at)[0] == child for at in range(0, whole, RECORD_BYTES)):
            return ""
        percent = 100 * free.f_bavail // max(free.f_blocks, 1)
        return f"the kernel writes nothing to {self._path}, whose file system has {percent} % free"


def _status(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size
