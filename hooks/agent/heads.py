"""The ledger's last line, told to syslog when it has changed: where another host keeps that, nobody rewrites the ledger."""

from __future__ import annotations

import os

from gridwarden import ledger, ledger_head, syslog_line
from gridwarden.errors import GridwardenError


class Heads:
    """Tells of the ledger in ``directory`` at most every ``seconds``, as accounting's collector reads it; ``told`` is the last."""

    def __init__(self, directory: str, seconds: float) -> None:
        self._directory = directory
        self._seconds = seconds
        self.told: tuple[int, str] = (0, "")
        self._state: tuple[int, int, int] | None = None
        self._next = 0.0

    def on_tick(self, now: float) -> None:
        """Tell, if it is time and the ledger was written to, whoever wrote."""
        if now >= self._next and self._state != (state := _state(self._directory)):
            self._next = now + self._seconds
            self._state = state if self.tell() else None

    def tell(self) -> bool:
        """Tell now, unless nothing is new; False when the ledger cannot be read."""
        try:
            head = ledger_head.head(self._directory)
        except (GridwardenError, OSError):
            return False
        if head != self.told and head[0]:
            syslog_line.decision("head", "sent", seq=head[0], head=head[1])
            self.told = head
        return True


def _state(directory: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(os.path.join(directory, ledger.CURRENT))
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
