"""What a caller can have set for this process before it called sudo, put right before anything depends on it."""

from __future__ import annotations

import os

from gridwarden.hooks.pilot import limits

TYPE_CHECKING = False  # typing's own costs a launch 3 ms, before its verifiers can begin to load
if TYPE_CHECKING:
    from signal import SIG_DFL, SIGCHLD, signal

    from gridwarden.hooks.pilot.limits import Limits
else:  # signal would load enum
    from _signal import SIG_DFL, SIGCHLD, signal

TIMER_SLACK, USUAL = "/proc/self/timerslack_ns", b"50000"  # proc_pid_timerslack_ns(5), prctl(2)


def put_right() -> Limits | None:
    """Be root without a caller's traps: the limits that it had chosen, which its payload is to keep; None where we are not root.

    sudo and execve(2) let through that SIGCHLD is ignored, so that nobody's end could be waited for; a timer slack of hours,
    with which no time of ours would ever be over; limits under which no record could be written; and that we be killed before
    all others when memory runs out.  Raises OSError.
    """
    kept = limits.lift() if os.geteuid() == 0 else None  # nobody else's launcher outlives it
    signal(SIGCHLD, SIG_DFL)
    with open(TIMER_SLACK, "wb", buffering=0) as file:
        file.write(USUAL)
    return kept
