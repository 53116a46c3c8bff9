"""What the processes of a proof share: a clock of its own, a journal of hand-outs, and who is on the way to a job.

An hour passes when the proof says so.  It never lets more than half an hour pass between the moment that
somebody asks for an account and the moment that their job is seen there, however slow the machine is: that is
what a cooling time of an hour relies on, and all that it relies on.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

MINUTE = 60 * 10**6
TICK = 10 * MINUTE
LONGEST_WAY = 30 * MINUTE
START = 1_700_000_000 * 10**6
NOBODY = 2**62


class Clock:
    """Shared by fork: the time in µs since the epoch, and since when each worker has somebody on the way."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, 8 * (workers + 1))
        self._workers = workers
        self._write(0, START)
        for worker in range(workers):
            self.arrived(worker)

    def now(self) -> int:
        return self._read(0)

    def sets_out(self, worker: int) -> None:
        self._write(1 + worker, self.now())

    def arrived(self, worker: int) -> None:
        self._write(1 + worker, NOBODY)

    def tick(self) -> None:
        """Let ten minutes pass, unless somebody has been on the way for half an hour."""
        if min(self._read(1 + worker) for worker in range(self._workers)) >= self.now() - LONGEST_WAY + TICK:
            self._write(0, self.now() + TICK)

    def _read(self, place: int) -> int:
        return struct.unpack_from("=q", self._memory, 8 * place)[0]

    def _write(self, place: int, value: int) -> None:
        struct.pack_into("=q", self._memory, 8 * place, value)


class Journal:
    """One file that every process appends whole lines to, so that they stand in the order of what happened."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._seen = 0

    def write(self, *words: object) -> None:
        os.write(self._descriptor, (" ".join(map(str, words)) + "\n").encode())

    def news(self) -> list[str]:
        """The lines since the last time."""
        found = []
        while data := os.pread(self._descriptor, 1 << 20, self._seen):
            whole = data[: data.rfind(b"\n") + 1]
            self._seen += len(whole)
            found += whole.decode().splitlines()
        return found
