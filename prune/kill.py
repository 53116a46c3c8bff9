"""Kill or stop every process of an account of which nothing on this machine is protected.

A scan of /proc loses to processes that fork and exit faster than it reads, so a child becomes the account
and signals everything that the kernel lets it, in one system call (kill(2), pid -1) that no fork can outrun.
What the account runs may stop or kill that child first, and an identity borrowed from another account's
set-uid program is out of its reach, so before that root signals one by one what a scan does see.  Callers hold
the account's lock and know that no live job of the account is here.
"""

from __future__ import annotations

import os
import time

from gridwarden.become import as_account
from gridwarden.prune import count
from gridwarden.prune.count import CHILD_SECONDS, Scan
from gridwarden.prune.outcome import Outcome
from gridwarden.prune.signals import SIGKILL, SIGSTOP, SIGTERM, STOPPED, Urgent, key, send

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.prune.signals import Key

PAUSE_SECONDS = 0.01
ALONE, NOT_ALONE = b"alone", b"not alone"


def empty_account(uid: int, gid: int, seconds: float, term_seconds: float = 0.0, *, dry_run: bool = False) -> Outcome:
    """Kill all that runs as ``uid``, for at most ``seconds``; ``term_seconds`` of them after a SIGTERM.

    What is left hangs in the kernel, or hides from a scan; it is reported, not tried for ever.
    """
    return _signal_account(uid, gid, SIGKILL, seconds, term_seconds, dry_run=dry_run)


def freeze_account(uid: int, gid: int, seconds: float, *, dry_run: bool = False) -> Outcome:
    """Stop all that runs as ``uid``, for at most ``seconds``, as evidence; ``killed`` are those that stand still."""
    return _signal_account(uid, gid, SIGSTOP, seconds, 0.0, dry_run=dry_run)


def _signal_account(uid: int, gid: int, signal: int, seconds: float, term_seconds: float, *, dry_run: bool) -> Outcome:
    outcome = Outcome()
    reached: set[Key] = set()
    deadline = time.monotonic() + seconds
    with Urgent():
        scan = Scan(uid)
        outcome.remember(scan.alive)
        if dry_run:
            return outcome
        if term_seconds and scan.alive:
            reached.update(key(process) for process in scan.alive if send(process, uid, SIGTERM))
            scan = _await_end(scan, uid, min(deadline, time.monotonic() + term_seconds))
        while True:
            outcome.remember(scan.alive)
            reached.update(key(process) for process in scan.alive if send(process, uid, signal))
            told = _signal_rest(uid, gid, signal, scan)
            scan = Scan(uid)
            left = [process for process in scan.alive if signal == SIGKILL or process.state not in STOPPED]
            certain = told == ALONE or (told == NOT_ALONE and scan.is_whole)
            if (certain and not left) or time.monotonic() > deadline:
                break
            time.sleep(PAUSE_SECONDS)
    outcome.keep(reached)
    outcome.leave(left)
    if not certain and not left:
        outcome.left.append((f"processes of uid {uid}", count.HIDDEN))
    return outcome


def _await_end(scan: Scan, uid: int, deadline: float) -> Scan:
    while scan.alive and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        scan = Scan(uid)
    return scan


def _signal_rest(uid: int, gid: int, signal: int, before: Scan) -> bytes:
    """Signal what a scan may have missed, from a child; what it told, or nothing when it came to grief."""
    try:
        told, ended = as_account(uid, gid, [], lambda report: _signal_all(report, signal, before), CHILD_SECONDS)
    except BlockingIOError:
        return b""  # every pid is taken: those that were signalled one by one make room
    return told if ended else b""


def _signal_all(report: int, signal: int, before: Scan) -> None:
    """Signal every process of the account but this one, atomically towards fork(2), and tell whether others are left.

    ``before`` is the last scan: who had ended then may still be counted, and so are all whom a signal only stops.
    """
    os.kill(-1, signal)
    dying = {key(process) for process in before.alive} if signal == SIGKILL else set()
    others = sum(tasks for name, tasks in before.tasks.items() if name not in dying)
    os.write(report, NOT_ALONE if count.has_company(others) else ALONE)
