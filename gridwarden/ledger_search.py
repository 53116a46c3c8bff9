"""Whether a ledger has a record already: for who goes on where somebody was killed before they could say so."""

from __future__ import annotations

import os

from gridwarden import ledger, trusted

MARGIN_SECONDS = 86400.0  # by which a clock may have been set


def has(directory: str, kind: str, payload: str, since: float) -> bool:
    """Whether there is a whole record of this kind about this payload since then, in seconds since the epoch.

    It is found by its bytes: in a text quotes are escaped, so none looks like a field.  Raises OSError, ConfigurationError.
    """
    marks = (f'"kind":"{kind}"'.encode(), f'"payload":"{payload}"'.encode())
    place = trusted.open_directory(directory)
    try:
        # The current file first: it is closed at most once meanwhile, and listed then.
        if _has(place, ledger.CURRENT, marks, since - MARGIN_SECONDS):
            return True
        closed = reversed(ledger.closed_files(place))
        return any(_has(place, name, marks, since - MARGIN_SECONDS) for name in closed)
    finally:
        os.close(place)


def _has(place: int, name: str, marks: tuple[bytes, bytes], since: float) -> bool:
    try:
        descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=place)
    except FileNotFoundError:
        return False
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mtime < since:
            return False
        return any(all(mark in line for mark in marks) and _is_whole(line) for line in file)


def _is_whole(line: bytes) -> bool:
    parts = ledger.split_line(line.removesuffix(b"\n"))
    return parts is not None and ledger.digest_of(parts[3]) == parts[2]
