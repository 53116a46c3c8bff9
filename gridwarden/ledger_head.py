"""A ledger's last line, for what stays in memory or must be quick: ``gridwarden.chain`` reads and verifies all of them."""

from __future__ import annotations

import os

from gridwarden import ledger, locks, trusted


def head(directory: str | os.PathLike[str]) -> tuple[int, str]:
    """The number and hash of the last whole line, (0, 64 zeros) when there is none; raises ConfigurationError, OSError."""
    root = trusted.open_directory(directory)
    lock = -1
    try:
        lock = os.open("lock", ledger.FILE_FLAGS, 0o600, dir_fd=root)
        locks.take(lock, f"{directory}/lock", ledger.LOCK_SECONDS, shared=True)  # a write that fails is taken back
        for name in (ledger.CURRENT, *ledger.closed_files(root)[-1:]):
            try:
                descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=root)
            except FileNotFoundError:
                continue
            try:
                seq, digest, _ = ledger.last_whole(descriptor, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
            if seq:
                return seq, digest
    finally:
        if lock != -1:
            os.close(lock)
        os.close(root)
    return 0, ledger.FIRST
