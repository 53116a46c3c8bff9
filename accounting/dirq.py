"""Put a message into a directory queue, which APEL's sender (SSM) empties.

The layout is that of dirq's QueueSimple: ``XXXXXXXX/YYYYYYYYYYYYYY`` of hexadecimal digits, the time in minutes of the
directory and seconds, microseconds and a random digit of the file, which has its name once it is whole.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_MINUTE = 60
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put(queue: Path, text: str) -> str:
    """Write a message durably, as the queue's owner's; return its name below the queue.  Raises Unavailable.

    Nothing is followed that the queue's owner could have put in the way.
    """
    try:
        root = os.open(queue, _DIRECTORY)
        try:
            while (name := _put(root, text.encode("utf-8", "backslashreplace"))) is None:
                pass  # that name was taken
            return name
        finally:
            os.close(root)
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        hint = "free space, or run as who owns it; nothing is sent twice"
        raise Unavailable(f"the queue {queue}: {what}", hint) from error


def _put(root: int, data: bytes) -> str | None:
    """Write a message under a name of this moment; None where that is taken."""
    owner = os.fstat(root)
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    minute = f"{seconds - seconds % _MINUTE:08x}"
    name = f"{seconds:08x}{nanoseconds // 1000:05x}{os.urandom(1)[0] & 15:x}"
    try:
        os.mkdir(minute, 0o755, dir_fd=root)
    except FileExistsError:
        pass
    directory = os.open(minute, _DIRECTORY, dir_fd=root)
    try:
        if os.geteuid() == 0:
            os.fchown(directory, owner.st_uid, owner.st_gid)
        descriptor = os.open(f"{name}.tmp", trusted.CREATE_FLAGS | os.O_NOFOLLOW, 0o644, dir_fd=directory)
        try:
            trusted.write_all(descriptor, data)
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fsync(descriptor)
            os.link(f"{name}.tmp", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(descriptor)
            os.unlink(f"{name}.tmp", dir_fd=directory)
    except FileExistsError:
        return None
    finally:
        os.close(directory)
    return f"{minute}/{name}"
