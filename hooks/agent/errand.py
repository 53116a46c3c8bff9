"""Send a child on an errand that may take long, or never come back, while the daemon goes on.

What waits for a dead file server hangs in the kernel, where nothing ends it.  Such a child is killed at its deadline and
left behind; as long as it is there, no other is sent on the same errand.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:  # signal would load enum
    import _signal as signal

PIECE = 65536  # bytes read at once: what a pipe holds
REPORT = 3  # the child's descriptor
MOST_BYTES = 16 * 1024 * 1024  # of a report: some 100 000 leases


class Errand:
    """A child that does ``work``, which gets a descriptor to write its report to; times are of the boot-time clock.

    ``done`` is called once, with the report, or with None when the child failed, or did not come back in time; ``ended``
    says whether the child is gone.
    """

    __slots__ = ("_deadline", "_done", "_pid", "_report", "ended", "ending", "reading")

    def __init__(self, work: Callable[[int], None], done: Callable[[bytes | None], None], deadline: float) -> None:
        self.reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing, True)
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self.reading)
            os.close(writing)
            raise
        if self._pid == 0:
            _alone(work, writing)
        os.close(writing)
        self.ending = os.pidfd_open(self._pid)
        self._report = bytearray()
        self._done: Callable[[bytes | None], None] | None = done
        self._deadline = deadline
        self.ended = False

    def read(self) -> bool:
        """Take what the child has reported by now; False once there is no more to come."""
        try:
            while part := os.read(self.reading, PIECE):
                if len(self._report) < MOST_BYTES:
                    self._report += part
        except BlockingIOError:
            return True
        return False

    def look(self, now: float) -> bool:
        """Whether the child has ended; its report is handed over then, or at the deadline, whichever comes first."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self.ended = True
            self.read()
            self._hand_over(bytes(self._report) if status == 0 else None)
            return True
        if now >= self._deadline and self._done:
            os.kill(self._pid, 9)  # ours and not reaped yet, so the number is still its own
            self._hand_over(None)
        return False

    def close(self) -> None:
        """Be done with a child that has ended."""
        os.close(self.reading)
        os.close(self.ending)

    def _hand_over(self, report: bytes | None) -> None:
        done, self._done = self._done, None
        if done:
            done(report)


def left_behind() -> list[int]:
    """Children of who executed this program anew: each counts for ever (TasksMax), once it has ended, if nobody waits."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _alone(work: Callable[[int], None], writing: int) -> None:
    """Do the work in the child, which keeps nothing of the daemon's open: a peer of a child that hangs would wait, too."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.dup2(writing, REPORT)
        os.closerange(REPORT + 1, os.sysconf("SC_OPEN_MAX"))
        work(REPORT)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the parent's code must never run on in the child
        os.write(2, f"gridwarden-agent: an errand failed: {error!r}\n".encode("ascii", "backslashreplace")[:PIECE])
        os._exit(1)
