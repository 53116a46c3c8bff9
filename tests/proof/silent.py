"""File systems that do not answer, from the beginning or any more."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def dead_mount(place: Path, uid: int = 0) -> Iterator[None]:
    """Mount a FUSE file system, of ``uid``, that nobody serves, as a dead NFS server's is: whoever touches it waits."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"dead", os.fsencode(place), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        os.close(device)


@contextmanager
def falling_silent(backing: Path, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Mount what is in ``backing`` by FUSE; its server, which a test stops to have the file system answer no more."""
    settings = backing.with_suffix(".json")
    settings.write_text("{}")
    options = {"use_ino": True, "allow_other": True, "attr_timeout": 0, "entry_timeout": 0}
    words = ["-m", "tests.proof.unreliable", str(backing), str(place), str(settings), json.dumps(options)]
    server = subprocess.Popen([sys.executable, *words], cwd=Path(__file__).parents[2])
    try:
        while not place.is_mount():
            assert server.poll() is None, "the file system ended of itself"
            time.sleep(0.01)
        yield server
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        server.kill()
        server.wait()
