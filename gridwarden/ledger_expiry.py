"""Let a node's ledger go where a store holds it: its oldest closed files, whole."""

from __future__ import annotations

import fcntl
import os
import stat
from itertools import pairwise

from gridwarden import chain, ledger, trusted


def expire(directory: str | os.PathLike[str], before: float) -> int:
    """Remove closed files that were written to last before a time (seconds since the epoch); return how many.

    Only what a store has acknowledged goes, oldest first, and never the file with the line up to which it has, nor the last
    closed one: the next collect and the next writer go on from these.  A kill leaves whole files.  Raises OSError,
    ConfigurationError.
    """
    stored = chain.acknowledged(directory)
    if not stored:
        return 0
    root = trusted.open_directory(directory)
    try:
        lock = os.open("lock", ledger.FILE_FLAGS, 0o600, dir_fd=root)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a rotation cannot fall in between, nor a reader open a part of them
            return _remove(root, ledger.closed_files(root), stored, before)
        finally:
            os.close(lock)
    finally:
        os.close(root)


def _remove(root: int, closed: list[str], stored: int, before: float) -> int:
    removed = 0
    for name, following in pairwise(closed):
        status = os.stat(name, dir_fd=root, follow_symlinks=False)
        first = _first_seq(root, following)
        if not stat.S_ISREG(status.st_mode) or status.st_mtime >= before or not 0 < first <= stored:
            break
        os.unlink(name, dir_fd=root)
        removed += 1
    if removed:
        os.fsync(root)
    return removed


def _first_seq(root: int, name: str) -> int:
    """The number of the first line of a file, 0 where it cannot be read: what lies before it then stays."""
    descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=root)
    try:
        parts = ledger.split_line(os.pread(descriptor, ledger.LONGEST_LINE, 0).partition(b"\n")[0])
        return parts[0] if parts else 0
    finally:
        os.close(descriptor)
