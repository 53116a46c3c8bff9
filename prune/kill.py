"""Kill every process of an account: the only module of the hooks that sends a signal to a user's process.

A scan of /proc loses to processes that fork and exit faster than it reads, so nothing here kills by
pid: a child becomes the account and signals everything that the kernel lets it, in one system call
(kill(2), pid -1).  Callers hold the account's lock and know that no live job of the account is here.
"""

from __future__ import annotations

import os
import time

from gridwarden import proc
from gridwarden.become import as_account

SIGKILL = 9  # signal.SIGKILL, whose module would load enum
PAUSE_SECONDS = 0.01
CHILD_SECONDS = 5


def empty_account(
    uid: int, gid: int, seconds: float, *, dry_run: bool = False
) -> tuple[list[proc.Process], list[proc.Process]]:
    """Kill all that runs as ``uid``, for at most ``seconds``: (those that were seen, those that are left).

    What is left hangs in the kernel, or hides from a scan; it is reported, not tried for ever.
    """
    seen = {(process.pid, process.start): process for process in _processes(uid)}
    if dry_run:
        return list(seen.values()), list(seen.values())
    deadline = time.monotonic() + seconds
    while True:
        _, sent = as_account(uid, gid, _kill_all, CHILD_SECONDS)
        left = _processes(uid)
        seen.update({(process.pid, process.start): process for process in left})
        if (sent and not left) or time.monotonic() > deadline:
            return list(seen.values()), left
        time.sleep(PAUSE_SECONDS)


def _kill_all(_report: int) -> None:
    """Signal every process of the account but this one, atomically towards fork(2)."""
    os.kill(-1, SIGKILL)


def _processes(uid: int) -> list[proc.Process]:
    """The account's processes; a daemon of root that acts for the account at the moment is not one."""
    return [process for process in proc.owned_by(uid) if process.real_uid != 0]
