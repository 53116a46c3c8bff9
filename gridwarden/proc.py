"""Processes as /proc shows them, read so that what they write about themselves cannot mislead.

The formats are those of proc_pid_stat(5), proc_pid_status(5) and proc_pid_cgroup(5).  A command name may hold
``) R 1``, so stat is split at its last parenthesis; status shows a newline in it as ``\\n``.  The owner of
/proc/PID is not the process's uid when it is setuid or not dumpable, so the uids come from status.
All that is read of a process is read below one descriptor of its directory: once it has ended, nothing more
is found there, whoever has got its number since.
"""

from __future__ import annotations

import os
import time

from gridwarden.errors import Unavailable

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS = os.sysconf("SC_CLK_TCK")
MICROSECONDS_A_TICK = 1_000_000 // TICKS
STATUS_BYTES = 1024  # the uids stand within: a name of 15 bytes, escaped, and eight numbers come before


class Process:
    """One process.

    ``start`` is its start time in clock ticks since boot, which with ``pid`` names it; ``cpu`` is what it has
    used, in microseconds.
    """

    __slots__ = (
        "command", "cpu", "effective_uid", "parent", "pid", "real_uid", "saved_uid", "session", "start", "state", "threads",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one argument a field
        self,
        *,
        pid: int,
        parent: int,
        session: int,
        start: int,
        state: str,
        threads: int,
        cpu: int,
        command: str,
        real_uid: int,
        effective_uid: int,
        saved_uid: int,
    ) -> None:
        self.pid = pid
        self.parent = parent
        self.session = session
        self.start = start
        self.state = state
        self.threads = threads
        self.cpu = cpu
        self.command = command
        self.real_uid = real_uid
        self.effective_uid = effective_uid
        self.saved_uid = saved_uid

    def started(self) -> int:
        """The start time in microseconds since the epoch, to a clock tick."""
        boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return boot // 1000 + self.start * MICROSECONDS_A_TICK

    def has_ended(self) -> bool:
        """Whether it only waits for its parent; one whose first thread has ended shows the same state."""
        return self.state in "ZX" and self.threads < 2


def read(pid: int) -> Process | None:
    """The process ``pid``, or None when there is none (any more)."""
    try:
        descriptor = open_directory(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        return read_below(descriptor)
    finally:
        os.close(descriptor)


def open_directory(pid: int) -> int:
    """A descriptor of /proc/PID, which stays that process's; raises FileNotFoundError, ProcessLookupError."""
    return os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def read_below(descriptor: int) -> Process | None:
    """The process of an open directory, or None when it has ended."""
    try:
        stat = _read("stat", descriptor)
        return parse(stat, _read("status", descriptor))
    except (FileNotFoundError, ProcessLookupError):
        return None


def parse(stat: bytes, status: bytes) -> Process | None:
    """The process that these two files describe; None when they were cut short by its end."""
    opening, closing = stat.find(b"("), stat.rfind(b")")
    fields = stat[closing + 2 :].split(None, 20)
    uids = status.partition(b"\nUid:")[2].split(maxsplit=3)
    if opening == -1 or len(fields) < 20 or len(uids) < 3:
        return None
    return Process(
        pid=int(stat[:opening]),
        parent=int(fields[1]),
        session=int(fields[3]),
        start=int(fields[19]),
        state=fields[0].decode("ascii"),
        threads=int(fields[17]),
        cpu=(int(fields[11]) + int(fields[12])) * MICROSECONDS_A_TICK,
        command=stat[opening + 1 : closing].decode("utf-8", "surrogateescape"),
        real_uid=int(uids[0]),
        effective_uid=int(uids[1]),
        saved_uid=int(uids[2]),
    )


def cgroups_below(descriptor: int, process: Process) -> tuple[str, ...]:
    """The paths of the control groups that ``process``, of this directory, is in; none when it has ended.

    Version 1 has a path for every hierarchy.  A first thread that has ended may have left them, so then
    those of the other threads count as well.
    """
    try:
        data = _read("cgroup", descriptor)
        if process.state in "ZX":
            data += b"".join(_of_thread(descriptor, thread) for thread in _names("task", descriptor))
    except (FileNotFoundError, ProcessLookupError):
        return ()
    lines = data.decode("utf-8", "surrogateescape").split("\n")  # the one byte that a group's name cannot hold
    return tuple(dict.fromkeys(line.split(":", 2)[2] for line in lines if line))


def executable_below(descriptor: int) -> str:
    """The path of the file that the process executes, `` (deleted)`` behind it if it is gone; "" if there is none.

    Whoever has a user or mount namespace of their own can make this any path (PR_SET_MM_EXE_FILE of prctl(2)).
    """
    try:
        return os.readlink("exe", dir_fd=descriptor)
    except OSError:
        return ""


def by_owner() -> dict[tuple[int, int, int], list[int]]:
    """The pids of all processes by (real uid, effective uid, saved uid), from one pass over /proc.

    Those that fork and exit meanwhile may be missed.  Raises Unavailable when /proc does not show everyone.
    """
    found: dict[tuple[bytes, bytes, bytes], list[int]] = {}
    for name in _listing():
        try:
            descriptor = os.open(f"/proc/{name}/status", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            continue
        try:
            status = os.read(descriptor, STATUS_BYTES)
        except ProcessLookupError:
            continue
        finally:
            os.close(descriptor)
        uids = status.partition(b"\nUid:\t")[2].split(b"\t", 3)
        found.setdefault((uids[0], uids[1], uids[2]), []).append(int(name))
    return {(int(real), int(effective), int(saved)): pids for (real, effective, saved), pids in found.items()}


def everyone() -> list[Process]:
    """All processes that /proc shows in one pass; those that fork and exit meanwhile may be missed."""
    return _read_all(int(name) for name in _listing())


def owned_by(uid: int) -> list[Process]:
    """The processes whose real, effective or saved uid is ``uid``, those left out that have ended."""
    found = _read_all(pid for uids, pids in by_owner().items() if uid in uids for pid in pids)
    return [
        process
        for process in found
        if uid in (process.real_uid, process.effective_uid, process.saved_uid) and not process.has_ended()
    ]


def _read_all(pids: Iterable[int]) -> list[Process]:
    return [process for process in map(read, pids) if process]


def _listing() -> list[str]:
    """The names of all processes; raises Unavailable when /proc is not this machine's, or hides some."""
    names = os.listdir("/proc")
    if "1" not in names or os.readlink("/proc/self") != str(os.getpid()):
        raise Unavailable(
            "/proc does not show every process of this machine", "run as root, with /proc of this pid namespace"
        )
    return [name for name in names if name.isdigit()]


def _of_thread(descriptor: int, thread: str) -> bytes:
    try:
        return _read(f"task/{thread}/cgroup", descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _names(directory: str, below: int) -> list[str]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=below)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _read(path: str, below: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=below)
    try:
        return os.read(descriptor, 16384)
    finally:
        os.close(descriptor)
