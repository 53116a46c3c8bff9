"""Child processes that may hang or misbehave: read what they say for so long, then end them."""

from __future__ import annotations

import os
import select
import time

_KILL = 9
_LAST_WAIT = 1000  # milliseconds in which a killed process must go, or be left to init


def read_until_end(descriptor: int, limit: int, seconds: float) -> bytes:
    """All that comes from a pipe until its other end closes.

    Raises TimeoutError after ``seconds``, ValueError at more than ``limit`` bytes.
    """
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    data = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        part = os.read(descriptor, limit + 1 - len(data))
        if not part:
            return bytes(data)
        data += part
        if len(data) > limit:
            raise ValueError(f"more than {limit} bytes")


def end(pid: int, milliseconds: int = 0) -> int:
    """Reap our own child ``pid``, killed unless it ends by itself in time; its exit status, or minus its signal.

    One that a kill does not end (its file system hangs) is not waited for: init will reap it.
    """
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(milliseconds):
            os.kill(pid, _KILL)
            poll.poll(_LAST_WAIT)
    finally:
        os.close(descriptor)
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else -_KILL
