"""Which signals launcher and guard take and hand on to a payload, by whoever sent them: sudo, or a batch system."""

from __future__ import annotations

import signal

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
HANDED_ON = frozenset({signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGXCPU})
WATCHED = ENDING | HANDED_ON | {signal.SIGCHLD}


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
    return signal.Signals(number).name
