"""A control group (cgroups(7), version 2) for one payload: a child of the caller's own, with no controller enabled.

Anywhere else it would escape the limits that the batch system has put on the caller's.  Where none can be made the
payload runs without, and its descendants are found by who is whose child.
"""

from __future__ import annotations

import os
import time

from gridwarden.payloads import GROUP_PREFIX
from gridwarden.prune.control_group import ROOTS

PAUSE_SECONDS, REMOVE_SECONDS = 0.005, 2.0
MICROSECONDS = b"usage_usec "


class Group:
    """A control group of ours.  ``path`` is where it is in the file system, ``directory`` a descriptor of that."""

    __slots__ = ("directory", "path")

    def __init__(self, path: str, directory: int) -> None:
        self.path = path
        self.directory = directory

    def enter(self, pid: int) -> None:
        """Move a process in; raises OSError."""
        self._write("cgroup.procs", str(pid))

    def kill(self) -> None:
        """Kill all that is in it, however fast it forks, where the kernel can (Linux 5.14)."""
        try:
            self._write("cgroup.kill", "1")
        except OSError:
            pass  # the kernel cannot: those in it are found one by one

    def cpu(self) -> int | None:
        """The processor time used in it, in microseconds (cpu.stat), or None when it is not to be had."""
        try:
            descriptor = os.open("cpu.stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
            try:
                data = os.read(descriptor, 4096)
            finally:
                os.close(descriptor)
            return int(data.partition(MICROSECONDS)[2].split(None, 1)[0])
        except (OSError, ValueError, IndexError):
            return None

    def remove(self) -> bool:
        """Remove it, once its last process is gone; whether it is."""
        deadline = time.monotonic() + REMOVE_SECONDS
        while True:
            try:
                os.rmdir(self.path)
            except FileNotFoundError:
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(PAUSE_SECONDS)
            else:
                return True

    def _write(self, name: str, value: str) -> None:
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.directory)
        try:
            os.write(descriptor, value.encode("ascii"))
        finally:
            os.close(descriptor)


def make(payload: str) -> Group | None:
    """A group below that of this process for the payload of this id, or None where none can be made."""
    root = next((root for root in ROOTS if os.path.exists(f"{root}/cgroup.controllers")), None)
    own = own_path()
    if root is None or own is None or ".." in own.split("/"):  # a path that leads out of our cgroup namespace
        return None
    try:
        path = f"{root}{own.rstrip('/')}/{GROUP_PREFIX}{payload}"
        os.mkdir(path, 0o755)
        return Group(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return None  # read-only, as in most containers, or with controllers enabled for its children


def entered(group: Group | None, pid: int) -> Group | None:
    """The group, with the process in it; None, and no group any more, where it cannot be moved."""
    try:
        if group:
            group.enter(pid)
    except OSError:
        removed(group)
        return None
    return group


def removed(group: Group | None) -> int | None:
    """The processor time used in a group, in microseconds, which then is there no more; None where it is not to be had."""
    if group is None:
        return None
    used = group.cpu()
    group.remove()
    return used


def own_path() -> str | None:
    """Which group of version 2 this process is in, as /proc says it; None without version 2."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return next((line[3:].removesuffix("\n") for line in file if line.startswith("0::")), None)
