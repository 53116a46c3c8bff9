"""A hook's own deadline, so that it ends inside Slurm's whatever it waits for: a lock, a child, a slow disk.

The kernel's alarm raises ``Overdue`` in the midst of what the hook does, again each second until ``disarm``, since
cleaning up may itself wait.  Only a wait in the kernel that no signal ends, as for a dead disk, outlasts it; then
Slurm's PrologEpilogTimeout counts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import ITIMER_REAL, SIG_DFL, SIGALRM, setitimer, signal
else:  # without the enumerations around it, which cost a hook 3 ms
    from _signal import ITIMER_REAL, SIG_DFL, SIGALRM, setitimer, signal

SECONDS = 100.0  # where the node file says nothing
LONGEST_RESERVE = 30.0  # to cancel a job, or to write a gap
PAYLOADS_SECONDS = 15.0  # of an epilog, for payloads, of whomever and however many
AGAIN_SECONDS = 1.0


class Overdue(BaseException):
    """The time is over; not an Exception, so that no ``except`` on the way takes it for an error of its own."""


def parts_of(site: dict[str, list[str]]) -> tuple[float, float]:
    """Seconds for a hook's own work, and for what it does when that failed; together less than Slurm's limit."""
    value = site.get("hook_seconds", [""])[0]
    seconds = float(value) if value.isascii() and value.isdigit() and value != "0" else SECONDS
    reserve = min(LONGEST_RESERVE, seconds / 2)
    return seconds - reserve, reserve


def arm(seconds: float) -> None:
    """Raise Overdue ``seconds`` from now, instead of at the time that was set before."""

    def ring(*_: object) -> None:
        raise Overdue(f"did not end within {seconds:g} s")

    setitimer(ITIMER_REAL, 0)
    signal(SIGALRM, ring)
    setitimer(ITIMER_REAL, seconds, AGAIN_SECONDS)


def disarm() -> None:
    """Let the time be over without a consequence."""
    setitimer(ITIMER_REAL, 0)
    signal(SIGALRM, SIG_DFL)
