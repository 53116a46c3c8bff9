"""Whose a uid is that somebody has beside his own, for user namespaces (subuid(5)): 65536 of them are one person's."""

from __future__ import annotations

import os
from _bisect import bisect_right

PATH = "/etc/subuid"
LARGEST = 4 << 20  # bytes; a line is some 30


class Owners:
    """The ranges of ``path``, read anew when the file has changed; without the file, or for other uids, nobody has another's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._ranges: list[tuple[int, int, str]] = []  # first, last, owner

    def of(self, uid: int) -> int | str:
        """The owner, as the file names him, or the uid itself."""
        place = bisect_right(self._ranges, (uid, 1 << 32, "")) - 1
        if place >= 0 and uid <= self._ranges[place][1]:
            return self._ranges[place][2]
        return uid

    def refresh(self) -> None:
        """Look whether the file is still the one that was read."""
        try:
            status = os.stat(self._path)
            seen = status.st_ino, status.st_size, status.st_mtime_ns
            if seen == self._read:
                return
            with open(self._path, "rb") as file:
                self._ranges = sorted(_ranges(file.read(LARGEST)))
        except OSError:
            seen, self._ranges = None, []
        self._read = seen


def _ranges(data: bytes) -> list[tuple[int, int, str]]:
    """The ranges of lines ``OWNER:FIRST:COUNT``; others say nothing."""
    found = []
    for line in data.split(b"\n"):
        owner, _, numbers = line.partition(b":")
        first, _, count = numbers.partition(b":")
        if owner and first.isdigit() and count.isdigit() and len(numbers) <= 32:
            found.append((int(first), int(first) + int(count) - 1, owner.decode("utf-8", "backslashreplace")))
    return found
