"""What a structure of exit statistics says, and processes out of their threads.

The layout is that of ``struct taskstats`` (include/uapi/linux/taskstats.h): fields are added at its end and keep their places,
in versions 8 to 14 and from 16 on.  Version 15 (Linux 6.14 and 6.15) put some in between and is not read.  Since 12 a
thread says whose thread it is (``ac_tgid``), and the last one of a process that it is (AGROUP).

``ac_utime`` and ``ac_stime`` are counted in ticks, and children of a few milliseconds have none: of 393 ms that wait4(2) gave 40
children they had 350.  ``cpu_run_virtual_total`` is what the scheduler counted, in nanoseconds: 390.
"""

from __future__ import annotations

from struct import Struct

# version, exit code, flags; cpu_run_virtual_total; command, uid, gid, pid, parent, begin; elapsed, user and system time
BASE = Struct("=H2xIB63xQ32s8xIIIII4xQQQ")
WITH_GROUP = Struct("=344xQ16xI4xQ")  # ac_btime64; ac_tgid; ac_tgetime
VERSION = Struct("=H")
UID = Struct("=120xI")
RUN = Struct("=72xQ")
OLDEST, MISPLACED, OF_GROUPS = 8, 15, 12
WHOLE_GROUP = 0x20  # AGROUP
MOST_GROUPS = 100_000
SECOND = 1_000_000


class Process:
    """A process that has ended; times in microseconds since the epoch, ``cpu`` in nanoseconds, ``user`` and ``system`` in microseconds.

    Before version 12 it is a thread.
    """

    __slots__ = ("command", "cpu", "end", "gid", "parent", "pid", "start", "status", "system", "threads", "uid", "user")

    def __init__(  # noqa: PLR0913 - one argument a field
        self,
        *,
        pid: int,
        parent: int,
        uid: int,
        gid: int,
        status: int,
        command: bytes,
        start: int,
        end: int,
        cpu: int,
        user: int,
        system: int,
        threads: int,
    ) -> None:
        self.pid = pid
        self.parent = parent
        self.uid = uid
        self.gid = gid
        self.status = status
        self.command = command
        self.start = start
        self.end = end
        self.cpu = cpu
        self.user = user
        self.system = system
        self.threads = threads


class Groups:
    """Puts the threads of a process together: what those that have ended had used, until the last one ends."""

    def __init__(self) -> None:
        self._ended: dict[
            int, tuple[int, int, int, bytes]
        ] = {}  # by process: threads, user, system, the first one's command

    def add(self, message: bytes, thread: int, group: int, now: int) -> Process | None:
        """Take a message into account; the process whose last thread has ended with it, or None.

        ``thread`` and ``group`` are where the structures of the thread and of the whole group begin (-1: none), ``now`` is
        when it came, in microseconds.
        """
        version, status, flags, cpu, name, uid, gid, pid, parent, begun, elapsed, user, system = BASE.unpack_from(
            message, thread
        )
        process, lived, threads = pid, elapsed, 1
        if version >= OF_GROUPS:
            begun, process, lived = WITH_GROUP.unpack_from(message, thread)
            earlier, earlier_user, earlier_system, first = self._ended.pop(process, (0, 0, 0, name))
            name = name if pid == process else first
            threads, user, system = earlier + 1, earlier_user + user, earlier_system + system
            if not flags & WHOLE_GROUP:
                if len(self._ended) >= MOST_GROUPS:  # of ends that were dropped
                    self._ended.clear()
                self._ended[process] = threads, user, system, name
                return None
            if group != -1:
                (cpu,) = RUN.unpack_from(message, group)
        # The second in which it ended is the kernel's: a message may have waited.
        second = (begun + elapsed // SECOND) * SECOND
        end = min(max(now, second), second + SECOND - 1)
        return Process(
            pid=process, parent=parent, uid=uid, gid=gid, status=status, command=name.partition(b"\0")[0],
            start=end - lived, end=end, cpu=cpu, user=user, system=system, threads=threads,
        )  # fmt: skip


def why_not(message: bytes, at: int) -> str:
    """Why a structure of this version is not read; "" where it is."""
    (version,) = VERSION.unpack_from(message, at)
    if version < OLDEST:
        return f"exit statistics of version {version} are older than this program knows"
    return (
        "exit statistics of version 15 (Linux 6.14, 6.15) have their fields elsewhere" if version == MISPLACED else ""
    )
