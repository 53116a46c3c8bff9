"""Who holds a lock for which others wait; whoever of them stands still is let go on for as long as that takes.

The formats are those of proc_locks(5), proc_pid_fd(5), proc_pid_fdinfo(5), proc_pid_cgroup(5) and the freezers of cgroups(7), versions 1 and 2.
"""

from __future__ import annotations

import os

from gridwarden import proc

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from signal import SIGCONT, pidfd_send_signal
else:  # signal would load enum
    from _signal import SIGCONT, pidfd_send_signal

STOPPED = "T"
FREEZER = "/sys/fs/cgroup/freezer"
UNIFIED = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")  # where systemd mounts version 2 beside version 1, and alone


class Holders:
    """The processes that hold flock(2) on the file behind a descriptor, as far as /proc shows them."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fstat(descriptor)
        self._moved: list[tuple[proc.Process, str]] = []

    def named(self) -> str:
        """``, by process 4711 (exec), which is stopped``; "" where nobody is to be seen, as over NFS."""
        holders = self._look()
        shown = [f"process {one.pid} ({one.command})" + (", which is stopped" * _is_stopped(one)) for one in holders]
        return ", by " + " and ".join(shown) if shown else ""

    def let_go_on(self) -> None:
        """Let those that are stopped go on, and take those that are frozen out of their control group until ``put_back``."""
        for holder in self._look():
            if _is_stopped(holder):
                _continue(holder)
            for group, outside in _frozen_groups(holder):
                if _move(holder, outside):
                    self._moved.append((holder, group))

    def put_back(self) -> None:
        """Put those that were taken out of a control group into it again."""
        while self._moved:
            _move(*self._moved.pop())

    def _look(self) -> list[proc.Process]:
        return [process for process in map(proc.read, self._pids()) if process and self._has_locked(process.pid)]

    def _pids(self) -> list[int]:
        """Who has a lock on a file of that inode number: devices may be others than those that fstat(2) shows (overlayfs)."""
        try:
            with open("/proc/locks", "rb", buffering=0) as file:
                rows = [line.split() for line in b"".join(iter(lambda: file.read(65536), b"")).splitlines()]
        except OSError:
            return []  # hidden, as in some containers
        inode = str(self._file.st_ino).encode()
        held = [row for row in rows if len(row) > 5 and row[1] == b"FLOCK" and row[5].rpartition(b":")[2] == inode]
        return sorted({int(row[4]) for row in held if int(row[4]) > 0})  # that of another pid namespace is 0

    def _has_locked(self, pid: int) -> bool:
        """Whether the lock is on our file: anybody can lock one with its number elsewhere, and open ours without a right to (O_PATH)."""
        try:
            return any(self._is_lock(f"/proc/{pid}", name) for name in os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return False

    def _is_lock(self, process: str, name: str) -> bool:
        try:
            return os.path.samestat(os.stat(f"{process}/fd/{name}"), self._file) and _says(
                f"{process}/fdinfo/{name}", "FLOCK"
            )
        except OSError:
            return False


def _is_stopped(process: proc.Process) -> bool:
    return process.state == STOPPED


def _continue(process: proc.Process) -> None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = proc.read(process.pid)
        if now and now.start == process.start:
            pidfd_send_signal(descriptor, SIGCONT)
    except OSError:
        pass  # gone
    finally:
        os.close(descriptor)


def _frozen_groups(process: proc.Process) -> list[tuple[str, str]]:
    """The frozen control groups that a process is in, and each one's root, which never is."""
    found = []
    try:
        with open(f"/proc/{process.pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    for _, controllers, path in lines:
        if ".." in path.split("/"):
            continue  # it leads out of our cgroup namespace
        if "freezer" in controllers.split(",") and _says(f"{FREEZER}{path}/freezer.state", "FROZEN"):
            found.append((f"{FREEZER}{path}", FREEZER))
        if not controllers:
            found += [(f"{root}{path}", root) for root in UNIFIED if _says(f"{root}{path}/cgroup.events", "frozen 1")]
    return found


def _says(path: str, what: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return what in file.read(4096)
    except OSError:
        return False


def _move(process: proc.Process, group: str) -> bool:
    now = proc.read(process.pid)
    if now is None or now.start != process.start:
        return False
    try:
        with open(f"{group}/cgroup.procs", "wb", buffering=0) as file:
            file.write(str(process.pid).encode("ascii"))
    except OSError:
        return False  # gone, or a container that may not
    return True
