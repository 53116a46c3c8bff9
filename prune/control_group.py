"""Kill a control group (cgroups(7), version 2) as a whole when it holds nothing but strays, however fast they fork.

The group is frozen while that is judged.  Where there is no version 2, or the kernel has no cgroup.kill (before
Linux 5.14), the group is left alone, and its processes are stopped and killed one by one as others are.
"""

from __future__ import annotations

import os
import time

from gridwarden import proc

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from gridwarden.prune.judge import Verdict

    JudgeAgain = Callable[[], list[Verdict]]

ROOTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")  # where systemd mounts version 2 beside version 1, and alone
FREEZE_SECONDS = 0.5
PAUSE_SECONDS = 0.001


def groups_of(strays: Iterable[proc.Process]) -> list[str]:
    """The directories of the control groups that these processes are in and that can be killed."""
    root = next((root for root in ROOTS if os.path.exists(f"{root}/cgroup.controllers")), None)
    paths: dict[str, None] = {}
    for process in strays if root else ():
        try:
            directory = proc.open_directory(process.pid)
        except OSError:
            continue
        try:
            paths |= dict.fromkeys(proc.cgroups_below(directory, process))
        finally:
            os.close(directory)
    # A path that leads out of our cgroup namespace begins with "..", and the root cannot be killed.
    found = [f"{root}{path}" for path in paths if ".." not in path.split("/")]
    return [path for path in found if os.path.exists(f"{path}/cgroup.kill")]


def kill_cgroup(path: str, uids: Container[int], judge_again: JudgeAgain) -> list[proc.Process]:
    """Kill all in the control group ``path`` and below it if they are strays of ``uids``: those that were killed.

    Nobody was when something else is in there, or it cannot be frozen.
    """
    protected = {verdict.process.pid for verdict in judge_again() if not verdict.stray}
    try:
        group = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []  # gone
    try:
        members = _members(group)
        if members & protected or not _are_of(uids, members):
            return []
        _write(group, "cgroup.freeze", b"1")
        try:
            return _kill_frozen(group, judge_again)
        finally:
            _write(group, "cgroup.freeze", b"0")
    except OSError:
        return []  # removed meanwhile, or threaded
    finally:
        os.close(group)


def _kill_frozen(group: int, judge_again: JudgeAgain) -> list[proc.Process]:
    deadline = time.monotonic() + FREEZE_SECONDS
    while b"frozen 1" not in _read(group, "cgroup.events"):
        if time.monotonic() > deadline:
            return []
        time.sleep(PAUSE_SECONDS)
    strays = {verdict.process.pid: verdict.process for verdict in judge_again() if verdict.stray}
    members = _members(group)
    if not members <= strays.keys():
        return []
    _write(group, "cgroup.kill", b"1")
    return [strays[pid] for pid in members]


def _are_of(uids: Container[int], pids: set[int]) -> bool:
    """Whether all of these that are still there are the account's: a group with others is not even frozen."""
    processes = [process for process in map(proc.read, pids) if process]
    return 0 not in pids and all(process.real_uid in uids for process in processes)


def _members(group: int) -> set[int]:
    """The pids in a group and in those below it; 0 stands for one outside this pid namespace."""
    found: set[int] = set()
    for _, _, _, directory in os.fwalk(".", dir_fd=group):
        found.update(map(int, _read(directory, "cgroup.procs").split()))
    return found


def _read(directory: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65536), b""))
    finally:
        os.close(descriptor)


def _write(directory: int, name: str, value: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)
