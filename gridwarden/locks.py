"""Have a lock, or know before long why not: a waiting hook holds up a whole node, and whoever holds a lock can be stopped.

A pilot may have its batch system stop all of its job, root's launcher included, in the midst of a record.  SIGSTOP cannot
be blocked and a frozen control group not be left from within, so it is for whoever waits to let such a holder go on.
"""

from __future__ import annotations

import fcntl
import os
import time

from gridwarden.errors import Unavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.1  # long: five hundred who wait would take the processor from who holds it
LOOK_SECONDS = 0.5  # how long a holder has before it is looked at, and looked at again


def take(descriptor: int, what: str, seconds: float, *, shared: bool = False) -> None:
    """Lock an open file (flock(2)) within ``seconds``, for as long as it is open.  ``what`` is what messages call it.

    A holder that is stopped or frozen is let go on until it is done.  Raises Unavailable, which names the holder, and
    OSError where the file system has no locks.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    if not _is_had(descriptor, how):
        _wait(descriptor, how, what, seconds)


def _wait(descriptor: int, how: int, what: str, seconds: float) -> None:
    from gridwarden.lock_holders import Holders  # noqa: PLC0415 - hardly anybody has to wait

    began = time.monotonic()
    looked, pause = began, FIRST_PAUSE
    holders = Holders(descriptor)
    try:
        while not _is_had(descriptor, how):
            now = time.monotonic()
            if now > began + seconds:
                message = f"{what}: its lock has been held for {seconds:g} s{holders.named()}"
                raise Unavailable(message, "see what that process waits for, and end it if it does not go on")
            if now > looked + LOOK_SECONDS:
                looked = now
                holders.let_go_on()
            # Not all at the same moments: of many who wait, each would find it held.
            time.sleep(min(pause * (0.5 + os.urandom(1)[0] / 255), max(began + seconds - now, 0)))
            pause = min(pause * 2, LONGEST_PAUSE)
    finally:
        holders.put_back()


def _is_had(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
