"""Kill every process of an account: the only module of the hooks that sends a signal to a user's process.

A scan of /proc loses to processes that fork and exit faster than it reads, so a child becomes the account
and signals everything that the kernel lets it, in one system call (kill(2), pid -1).  What the account runs
may stop or kill that child first, and an identity borrowed from another account's set-uid program is out of
its reach, so before that root signals one by one what a scan does see.  Callers hold the account's lock and
know that no live job of the account is here.
"""

from __future__ import annotations

import os
import time

from gridwarden import proc
from gridwarden.become import as_account

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from signal import pidfd_send_signal
else:  # signal would load enum
    from _signal import pidfd_send_signal

SIGKILL = 9
PAUSE_SECONDS = 0.01
CHILD_SECONDS = 1  # a child that has been stopped costs no more


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
    left = list(seen.values())
    while True:
        for process in left:
            _kill_one(process, uid)
        _, sent = as_account(uid, gid, [], _kill_all, CHILD_SECONDS)
        left = _processes(uid)
        seen.update({(process.pid, process.start): process for process in left})
        if (sent and not left) or time.monotonic() > deadline:
            return list(seen.values()), left
        time.sleep(PAUSE_SECONDS)


def _kill_one(judged: proc.Process, uid: int) -> None:
    """Signal the process that was judged, if it is still that one and the account's."""
    try:
        descriptor = os.pidfd_open(judged.pid)
    except OSError:
        return  # gone
    try:
        now = proc.read(judged.pid)
        if now and now.start == judged.start and _acts_as(uid, now):
            pidfd_send_signal(descriptor, SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _kill_all(_report: int) -> None:
    """Signal every process of the account but this one, atomically towards fork(2)."""
    os.kill(-1, SIGKILL)


def _processes(uid: int) -> list[proc.Process]:
    return [process for process in proc.owned_by(uid) if _acts_as(uid, process)]


def _acts_as(uid: int, process: proc.Process) -> bool:
    """Whether a process is the account's; a daemon of root that acts for the account at the moment is not."""
    return uid in (process.real_uid, process.effective_uid) and process.real_uid != 0
