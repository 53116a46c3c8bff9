"""Make a whole file system durable: one call for what many files and directories hold."""

from __future__ import annotations

import os


def sync_file_system(descriptor: int) -> None:
    """Make everything on the descriptor's file system durable, syncfs(2); raises OSError."""
    import ctypes  # noqa: PLC0415 - a mapping of one identity does not need it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
