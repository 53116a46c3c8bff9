"""A file system that does not answer."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def dead_mount(place: Path) -> Iterator[None]:
    """Mount a FUSE file system that nobody serves, as a dead NFS server's is: whoever touches it waits."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"dead", os.fsencode(place), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        os.close(device)
