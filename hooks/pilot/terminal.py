"""Whether a payload could type into somebody's terminal (ioctl_tty(2), TIOCSTI): then it is not run.

A session of its own would prevent that too, but take it out of the session by which batch systems find their jobs.
"""

from __future__ import annotations

import os

from gridwarden import reasons
from gridwarden.errors import Refused


def refuse() -> None:
    """Raise Refused (terminal) when this process has a terminal, which a payload would share."""
    named = [name for number, name in enumerate(("input", "output", "error")) if os.isatty(number)]
    if named:
        raise Refused(
            reasons.TERMINAL,
            f"standard {' and '.join(named)} is a terminal, into which the payload could type",
            "redirect all three: </dev/null >output 2>&1",
        )
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return
    raise Refused(
        reasons.TERMINAL,
        "this session has a terminal, into which the payload could type",
        "start the pilot with setsid(1), or from a batch job",
    )
