"""The end of processes that a test has started, which may be ending themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def kill(*pids: int) -> None:
    """Kill these, those left out that have gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Kill a process group, if it has not gone."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def run_after_kills(program: str, kills: Iterable[int]) -> None:
    """Run Python that tells each step by a line and waits for one: killed after so many steps, once for each, then to its end."""
    for steps in kills:
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
            process.stdin.write(b"\n")
            process.stdin.flush()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    subprocess.run([sys.executable, "-c", program], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
