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


def put(queue: Path, text: str) -> Path:
    """Write a message durably; return its file.  Raises Unavailable."""
    try:
        while True:
            seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
            directory = queue / f"{seconds - seconds % _MINUTE:08x}"
            directory.mkdir(mode=0o755, exist_ok=True)
            name = f"{seconds:08x}{nanoseconds // 1000:05x}{os.urandom(1)[0] & 15:x}"
            temporary = directory / f"{name}.tmp"
            try:
                descriptor = os.open(temporary, trusted.CREATE_FLAGS, 0o644)
            except FileExistsError:
                continue
            try:
                trusted.write_all(descriptor, text.encode("utf-8", "backslashreplace"))
                os.fsync(descriptor)
                os.link(temporary, directory / name)
            except FileExistsError:
                continue
            finally:
                os.close(descriptor)
                os.unlink(temporary)
            return directory / name
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise Unavailable(
            f"the queue {queue}: {what}", "free space, or run as who owns it; nothing is sent twice"
        ) from error
