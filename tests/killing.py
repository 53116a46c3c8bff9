"""The end of processes that a test has started; they may be ending themselves."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def kill(*pids: int) -> None:
    """Kill these, those left out that have gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Kill a process group, if it has not gone."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
