"""Kill or stop every process of an account of which nothing on this machine is protected.

What a scan of /proc sees is signalled one by one; a scan that may have missed somebody, since processes were born
meanwhile, is done again, at last while all others are halted.  Whoever outruns that too gets the signal from a child
that becomes the account and signals everything that the kernel lets it, in one system call (kill(2), pid -1) that no
fork can outrun, unless that would reach somebody else: one who has kept the account's uid as a saved uid.  What the
account runs may stop or kill that child first.  Callers hold the account's lock and know that no live job of the
account is here.
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
    from collections.abc import Callable

    from gridwarden.prune.signals import Key, Uids

PAUSE_SECONDS = 0.01
GENTLE_PASSES, MOST_HALTS = 3, 20  # that may have missed somebody: before all others are halted for one, and then
ALONE, NOT_ALONE = b"alone", b"not alone"


def has_nobody(uids: Uids) -> bool:
    """Whether one look is enough to be certain that nothing runs as one of ``uids``, as at the end of most jobs."""
    scan = Scan(uids)
    return not scan.alive and scan.is_whole()


def empty_account(uids: Uids, gid: int, seconds: float, term_seconds: float = 0.0, *, dry_run: bool = False) -> Outcome:
    """Kill all that runs as one of ``uids``, for at most ``seconds``; ``term_seconds`` of them after a SIGTERM.

    What is left hangs in the kernel, or hides from a scan; it is reported, not tried for ever.
    """
    return _signal_account(uids, gid, SIGKILL, seconds, term_seconds, dry_run=dry_run)


def freeze_account(uids: Uids, gid: int, seconds: float, *, dry_run: bool = False) -> Outcome:
    """Stop all that runs as one of ``uids``, for at most ``seconds``, as evidence; ``killed`` are those that stand."""
    return _signal_account(uids, gid, SIGSTOP, seconds, 0.0, dry_run=dry_run)


def _signal_account(
    uids: Uids, gid: int, signal: int, seconds: float, term_seconds: float, *, dry_run: bool
) -> Outcome:
    clearance = Clearance(uids, gid, time.monotonic() + seconds)
    with Urgent():
        if dry_run:
            clearance.outcome.remember(Scan(uids).alive)
            return clearance.outcome
        if term_seconds:
            clearance.terminate(term_seconds)
        clearance.signal_all(signal)
    return clearance.outcome


class Clearance:
    """The clearing of one account; ``outcome`` is what has come of it so far."""

    def __init__(self, uids: Uids, gid: int, deadline: float) -> None:
        self.outcome = Outcome()
        self._uids = uids
        self._gid = gid
        self._deadline = deadline
        self._sent: dict[Key, int] = {}
        self._misses = 0  # passes that may have missed somebody
        self._lent: set[int] = set()  # the uids besides its own under which the account was seen

    def terminate(self, seconds: float) -> None:
        """Ask those that are seen to end, and give them ``seconds``."""
        grace = min(self._deadline, time.monotonic() + seconds)
        scan = Scan(self._uids)
        self.outcome.remember(scan.alive)
        self._send(scan, SIGTERM)
        while scan.alive and time.monotonic() < grace:
            time.sleep(PAUSE_SECONDS)
            scan = Scan(self._uids)

    def signal_all(self, signal: int) -> None:
        """Signal everybody until it is certain that nobody is left, or nobody that a signal would end."""
        while True:
            before, missed = self._signal_seen(signal)
            if not (missed or before.alive):
                certain, left = True, []
                break
            certain = not missed or self._signal_rest(signal, before)
            after = Scan(self._uids)
            left = [process for process in after.alive if signal == SIGKILL or process.state not in STOPPED]
            certain = certain or after.is_whole()
            if (certain and not left) or time.monotonic() > self._deadline:
                break
            time.sleep(PAUSE_SECONDS)
        self.outcome.keep(self._sent)
        self.outcome.leave(left)
        if not certain and not left:
            self.outcome.left.append((f"processes of uid {self._uids.own}", count.HIDDEN))

    def _signal_seen(self, signal: int) -> tuple[Scan, bool]:
        """Signal one by one whom scans see, until one has missed nobody: the last scan, and whether it may have.

        Who ended before the signal came may have forked just before, so all have to be reached.
        """
        while True:
            if GENTLE_PASSES <= self._misses < GENTLE_PASSES + MOST_HALTS:
                from gridwarden.prune.halt import Halt  # noqa: PLC0415 - hardly any epilog needs it

                with Halt():
                    scan = Scan(self._uids)
                    missed = not self._send(scan, signal)
                    self.outcome.remember(scan.alive)
            else:
                scan = Scan(self._uids)
                self.outcome.remember(scan.alive)
                missed = not self._send(scan, signal)
            if not missed or self._is_all(scan):
                return scan, False
            self._misses += 1
            if self._misses > GENTLE_PASSES or time.monotonic() > self._deadline:
                return scan, True

    def _is_all(self, scan: Scan) -> bool:
        self._lent.update(process.real_uid for process in scan.alive if process.real_uid != self._uids.own)
        if self._lent:
            return False  # the kernel's count is that of one uid: it says nothing of who forks under another
        if not (scan.alive or scan.tasks):
            return count.has_no_more(self._uids.own, self._gid, 0)
        return count.are_all(self._uids, self._gid, set(map(key, scan.alive)))

    def _send(self, scan: Scan, signal: int) -> bool:
        """Whether the signal reached all of the scan, and nobody was born before it did."""
        reached = [key(process) for process in scan.alive if send(process, self._uids, signal)]
        self._sent.update(dict.fromkeys(reached, signal))
        return len(reached) == len(scan.alive) and scan.is_whole()

    def _signal_rest(self, signal: int, before: Scan) -> bool:
        """Signal, from children, whom a scan may have missed; whether it is certain that nobody else is left."""
        seen = {process.real_uid for process in before.alive} | self._lent | {self._uids.own}
        for uid in seen - before.shared - {self._uids.own}:
            self._as(uid, lambda _: os.kill(-1, signal))
        work = _tell_company if self._uids.own in before.shared else _signal_all
        told = self._as(self._uids.own, lambda report: work(report, signal, before))
        self.outcome.unseen |= bool(seen - before.shared)
        return told == ALONE and len(seen) == 1

    def _as(self, uid: int, work: Callable[[int], None]) -> bytes:
        try:
            told, ended = as_account(uid, self._gid, [], work, CHILD_SECONDS)
        except BlockingIOError:
            return b""  # every pid is taken: those that were signalled one by one make room
        return told if ended else b""


def _signal_all(report: int, signal: int, before: Scan) -> None:
    """Signal every process of the account but this one, atomically towards fork(2), and tell whether others are left."""
    os.kill(-1, signal)
    _tell_company(report, signal, before)


def _tell_company(report: int, signal: int, before: Scan) -> None:
    """Tell whether others of the account are left.

    ``before`` is the last scan: who had ended then may still be counted, and so are all whom a signal only stops.
    """
    dying = {key(process) for process in before.alive} if signal == SIGKILL else set()
    others = sum(tasks for name, tasks in before.tasks.items() if name not in dying)
    os.write(report, NOT_ALONE if count.has_company(others) else ALONE)
