"""Which signals launcher and guard take and hand on to a payload, by whoever sent them: sudo, or a batch system."""

from __future__ import annotations

import ctypes
import os
import select
import sys

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import signal
else:  # signal would load enum
    import _signal as signal

# SIGALRM, too: sudo passes it on, and who let it end the launcher alone would keep what the payload used off the record.
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM})
HANDED_ON = frozenset({signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGXCPU})
WATCHED = ENDING | HANDED_ON | {signal.SIGCHLD}


class Waiting:
    """The signals that wait for this process, read from a descriptor (signalfd(2)).

    ``signal.sigtimedwait`` will not do: stopped and continued after its time has passed, it tells of a signal that never
    came (CPython 3.11 to 3.13, Modules/signalmodule.c).
    """

    RECORD_BYTES, MOST_RECORDS = 128, 64  # struct signalfd_siginfo, which begins with the number as 32 bits

    def __init__(self) -> None:
        numbers = (ctypes.c_uint64 * 16)(sum(1 << (number - 1) for number in WATCHED))  # sigset_t
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.signalfd(-1, ctypes.byref(numbers), os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor == -1:
            raise OSError(ctypes.get_errno(), "signalfd")

    def take(self, seconds: float, *others: int) -> list[int]:
        """Wait for one of ``WATCHED``, for at most ``seconds``: the numbers of those that have come.

        It waits no longer, either, once one of the descriptors ``others`` can be read.
        """
        poll = select.poll()
        for descriptor in (self._descriptor, *others):
            poll.register(descriptor, select.POLLIN)
        if self._descriptor not in dict(poll.poll(seconds * 1000)):
            return []
        data = os.read(self._descriptor, self.RECORD_BYTES * self.MOST_RECORDS)
        return [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), self.RECORD_BYTES)]

    def close(self) -> None:
        """Read no more of them: they go on waiting."""
        os.close(self._descriptor)


def take() -> None:
    """Let these signals wait until they are asked for, in this process and its children."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by our caller, children's ends and times would be lost
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)


def let_children_be_waited_for() -> None:
    """Block SIGCHLD no longer: programs that are executed may count on it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def forget() -> None:
    """Handle no signal otherwise than a new program would, and block none: what came while it was blocked comes now."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def name_of(number: int) -> str:
    """The name of a signal, SIGTERM for 15."""
    from signal import Signals  # noqa: PLC0415 - few payloads are ended

    return Signals(number).name
