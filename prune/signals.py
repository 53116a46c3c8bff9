"""Send a signal to the very process that was judged, or to nobody: by pidfd, its identity read again after opening."""

from __future__ import annotations

import os

from gridwarden import proc

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container
    from signal import pidfd_send_signal

    Key = tuple[int, int]
else:  # signal would load enum
    from _signal import pidfd_send_signal

SIGKILL, SIGTERM, SIGCONT, SIGSTOP = 9, 15, 18, 19
STOPPED = "TtZ"  # Z: its first thread has ended, which shows in place of what the others do
HANGING = "D"
TRACED = "t"
PRIORITY = 2  # of the lowest that real time has; kernel threads that matter are far above


class Uids:
    """The uids of an account (``in``): its ``own``, and those that it is ``lent`` (``prune.lent``).

    Whose a process is, its real uid says.  Who only borrows the account's, by a set-uid program of the account or as
    a daemon of root that acts for it at the moment, is somebody else.
    """

    __slots__ = ("lent", "own")

    def __init__(self, own: int, lent: Container[int] = ()) -> None:
        self.own = own
        self.lent = lent

    def __contains__(self, uid: object) -> bool:
        return uid == self.own or uid in self.lent


class Urgent:
    """Real-time priority for as long as this lasts (``with`` statement), or the highest that is to be had.

    Niceness counts only within a session's own scheduling group (sched(7), autogroup), and a fork bomb can
    make thousands of sessions; no ordinary process delays a real-time one.
    """

    def __enter__(self) -> None:
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._policy = os.sched_getscheduler(0), os.sched_getparam(0)
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        except OSError:  # a control group of version 1 without real time of its own (cpu.rt_runtime_us)
            _take_priority(-20)

    def __exit__(self, *_: object) -> None:
        os.sched_setscheduler(0, *self._policy)
        _take_priority(self._nice)


def _take_priority(nice: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        pass  # a container without CAP_SYS_NICE


def key(process: proc.Process) -> Key:
    """What names a process: its pid and its start time."""
    return process.pid, process.start


def has_gone(process: proc.Process) -> bool:
    """Whether a process has ended."""
    now = proc.read(process.pid)
    return now is None or now.start != process.start or now.has_ended()


def send(judged: proc.Process, uids: Container[int], signal: int) -> bool:
    """Signal ``judged`` if it is still that process, runs, and is still that of one of ``uids``; whether it was."""
    try:
        descriptor = os.pidfd_open(judged.pid)
    except OSError:
        return False  # gone
    try:
        now = proc.read(judged.pid)
        if not now or now.start != judged.start or now.has_ended() or now.real_uid not in uids:
            return False
        pidfd_send_signal(descriptor, signal)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def why_left(process: proc.Process) -> str:
    """Why a process is still there that was signalled."""
    if process.state == HANGING:
        return "hangs in the kernel (state D), until what it waits for answers"
    if process.state == TRACED:
        return "has been killed, but its tracer holds it as it ends (PTRACE_O_TRACEEXIT); it executes nothing any more"
    return f"survives in state {process.state}: it has not ended in time, or is new"
