"""A FUSE file system over a directory that behaves as NFS may: replies are lost, requests are repeated, caches age.

``python -m tests.proof.unreliable BACKING MOUNT SETTINGS``; SETTINGS is a JSON file, read anew at each change:

- ``lost``: the share of link, unlink and rename that are done, and answered with ``error`` (EIO, or the answer
  to the same request done twice: EEXIST for a link, ENOENT for an unlink or a rename).
- ``repeated``: the share that is done, and asked a second time; the second answer is what is given.
- ``hangs``: requests for attributes are taken and not answered as long as this is true; who asks waits in state D.

What a client remembers, right or not, is the kernel's part: its timeouts for attributes and names.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mfusepy

# ruff: noqa: ARG002 - the names and arguments of the methods are FUSE's

STATUS = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_dev")
VOLUME = (
    "f_bavail",
    "f_bfree",
    "f_blocks",
    "f_bsize",
    "f_favail",
    "f_ffree",
    "f_files",
    "f_flag",
    "f_frsize",
    "f_namemax",
)
TWICE = {"link": errno.EEXIST, "unlink": errno.ENOENT, "rename": errno.ENOENT}


class Unreliable(mfusepy.Operations):
    """Everything is passed on to the backing directory."""

    use_ns = True

    def __init__(self, backing: str, settings: Path) -> None:
        self._backing = backing
        self._settings = settings
        self._read: tuple[int, dict] = (0, {})

    def _path(self, path: str) -> str:
        return self._backing + path

    def _setting(self, name: str, default=0):
        changed = self._settings.stat().st_mtime_ns
        if changed != self._read[0]:
            self._read = changed, json.loads(self._settings.read_text())
        return self._read[1].get(name, default)

    def _badly(self, what: str, do: Callable[[], None]) -> int:
        """Do something to a name, and perhaps answer it as a network would."""
        do()
        if random.random() < self._setting("repeated"):
            raise mfusepy.FuseOSError(TWICE[what])
        if random.random() < self._setting("lost"):
            error = self._setting("error", "EIO")
            raise mfusepy.FuseOSError(TWICE[what] if error == "twice" else getattr(errno, error))
        return 0

    def getattr(self, path: str, fh=None):
        while self._setting("hangs"):
            time.sleep(0.01)
        status = os.lstat(self._path(path))
        found = {name: getattr(status, name) for name in STATUS}
        times = {"st_atime": status.st_atime_ns, "st_mtime": status.st_mtime_ns, "st_ctime": status.st_ctime_ns}
        return found | times

    def link(self, target: str, source: str) -> int:
        old, new = self._path(source), self._path(target)
        return self._badly("link", lambda: os.link(old, new, follow_symlinks=False))

    def unlink(self, path: str) -> int:
        return self._badly("unlink", lambda: os.unlink(self._path(path)))

    def rename(self, old: str, new: str) -> int:
        return self._badly("rename", lambda: os.rename(self._path(old), self._path(new)))

    def readdir(self, path: str, fh):
        return [(".", None, 0), ("..", None, 0)] + [
            (entry.name, {"st_ino": entry.inode(), "st_mode": entry.stat(follow_symlinks=False).st_mode}, 0)
            for entry in os.scandir(self._path(path))
        ]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._path(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._path(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._path(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.lchown(self._path(path), uid, gid)

    def utimens(self, path: str, times=None) -> None:
        os.utime(self._path(path), ns=times and tuple(int(moment) for moment in times), follow_symlinks=False)

    def create(self, path: str, mode: int, fi=None) -> int:
        return os.open(self._path(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._path(path), flags & ~(os.O_CREAT | os.O_EXCL))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh=None) -> None:
        os.truncate(self._path(path), length)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        pass

    def flush(self, path: str, fh: int) -> None:
        pass

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def statfs(self, path: str):
        status = os.statvfs(self._path(path))
        return {name: getattr(status, name) for name in VOLUME}


if __name__ == "__main__":
    backing, mount, settings, options = sys.argv[1:]
    mfusepy.FUSE(Unreliable(backing, Path(settings)), mount, foreground=True, nothreads=True, **json.loads(options))
