"""Kill or stop the strays of an account beside its live job, whose processes no signal may reach.

What is killed may have forked just before, and its parent may start another, so all are stopped first, until
passes find nothing that still runs; then they are killed where they stand.  A control group of strays alone is
killed as a whole, and strays that live shorter than a pass takes are halted for one.  What outruns that too is
reported, and ends with the job, when the account can be emptied.  Callers hold the account's lock.
"""

from __future__ import annotations

import time

from gridwarden.prune import control_group, count
from gridwarden.prune.halt import Halt
from gridwarden.prune.outcome import Outcome
from gridwarden.prune.reasons import UNKNOWN
from gridwarden.prune.signals import (
    HANGING,
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    SIGTERM,
    STOPPED,
    Uids,
    Urgent,
    has_gone,
    key,
    send,
)  # fmt: skip

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from gridwarden.proc import Process
    from gridwarden.prune.judge import Verdict
    from gridwarden.prune.signals import Key

    JudgeAgain = Callable[[], list[Verdict]]
    Strays = dict[Key, Process]

PAUSE_SECONDS = 0.01
END_SECONDS = 2.0  # for what was killed to be gone, unless it hangs in the kernel
MOST_DOUBTS = 3  # passes in a row in which somebody who was stopped as a stray is neither that nor a job's
GENTLE_PASSES, MOST_PASSES = 5, 25  # that settle nothing: before all others are halted for one, and in all
UNSETTLED = "there may be more: they start faster than they can be looked at beside a live job"


def kill_strays(
    uids: Uids, gid: int, judge_again: JudgeAgain, seconds: float, term_seconds: float = 0.0, *, dry_run: bool = False
) -> Outcome:
    """Kill what ``judge_again``, which reads and judges the processes of account ``uids`` anew, calls strays.

    For at most ``seconds``, ``term_seconds`` of them after a SIGTERM.  Whatever ``judge_again`` raises ends it,
    and lets those run on that had been stopped.  A program that it asks may be halted for as long as it is called.
    """
    chase = Chase(uids, gid, judge_again, time.monotonic() + seconds)
    with Urgent():
        chase.begin()
        if not dry_run:
            if term_seconds:
                chase.terminate(term_seconds)
            chase.kill_groups()
            chase.kill()
    return chase.outcome


def freeze_strays(uids: Uids, gid: int, judge_again: JudgeAgain, seconds: float, *, dry_run: bool = False) -> Outcome:
    """Stop what ``judge_again`` calls strays, for at most ``seconds``, and leave it so, as evidence."""
    chase = Chase(uids, gid, judge_again, time.monotonic() + seconds)
    with Urgent():
        chase.begin()
        if not dry_run:
            chase.freeze()
    return chase.outcome


class Chase:
    """The hunt for the strays of one account; ``outcome`` is what has come of it so far."""

    def __init__(self, uids: Uids, gid: int, judge_again: JudgeAgain, deadline: float) -> None:
        self.outcome = Outcome()
        self._uids = uids
        self._gid = gid
        self._judge_again = judge_again
        self._deadline = deadline
        self._judged: set[Key] = set()
        self._strays: Strays = {}
        self._stopped: Strays = {}  # as they were before
        self._sent: dict[Key, int] = {}  # the last signal that asked it to end
        self._doubts = 0  # passes in a row

    def begin(self) -> None:
        """Judge for the first time.  That nobody is seen does not mean that nobody is there."""
        self._look()
        self.outcome.remember(self._strays.values())

    def terminate(self, seconds: float) -> None:
        """Ask the strays to end, and give them ``seconds``."""
        grace = min(self._deadline, time.monotonic() + seconds)
        self._send(self._strays.values(), SIGTERM)
        while self._strays and time.monotonic() < grace:
            time.sleep(PAUSE_SECONDS)
            self._look()

    def kill_groups(self) -> None:
        """Kill the control groups in which there is nothing but strays."""
        for path in control_group.groups_of(self._strays.values()):
            if time.monotonic() > self._deadline:
                break
            killed = control_group.kill_cgroup(path, self._uids, self._judge_again)
            self.outcome.remember(killed)
            self._sent.update((key(process), SIGKILL) for process in killed)

    def kill(self) -> None:
        """Stop and kill the strays until none is left, or none that a signal would end."""
        killed: set[Key] = set()
        while True:
            settled = self._stop()
            if self._strays.keys() <= killed:
                break
            self._send(self._strays.values(), SIGKILL)
            killed.update(self._strays)
            self._await_end()
            if time.monotonic() > self._deadline:
                break
        self._report(self._sent, [stray for stray in self._strays.values() if not has_gone(stray)], settled=settled)

    def freeze(self) -> None:
        """Stop the strays for good."""
        settled = self._stop()
        left = [process for process in self._strays.values() if process.state not in STOPPED]
        self._report(dict.fromkeys(self._strays, SIGSTOP), left, settled=settled)

    def _report(self, sent: dict[Key, int], left: Iterable[Process], *, settled: bool) -> None:
        self._let_go(self._stopped)
        self.outcome.keep(sent)
        self.outcome.leave(left)
        if not settled:
            self.outcome.left.append((f"processes of uid {self._uids.own}", UNSETTLED))

    def _stop(self) -> bool:
        """Stop strays until none appears that runs; whether it came to that."""
        quiet = restless = 0
        for _ in range(MOST_PASSES):
            if max(quiet, restless) < GENTLE_PASSES:
                moved, complete = self._stop_once()
            else:
                with Halt():
                    moved, complete = self._stop_once()
            self.outcome.remember(self._strays.values())
            quiet, restless = (0, restless + 1) if moved else (quiet + 1, restless)
            if quiet > 1 and complete:  # who stood still in two passes did not fork in between
                return True
            if time.monotonic() > self._deadline:
                break
            time.sleep(PAUSE_SECONDS)
        return False

    def _stop_once(self) -> tuple[bool, bool]:
        """Stop who runs: whether somebody did or is in doubt; if not, whether it is certain that nobody was missed."""
        self._look()
        running = {name: process for name, process in self._strays.items() if not self._stands(name, process)}
        self._stopped = running | self._stopped
        self._send(running.values(), SIGSTOP)
        moved = bool(running or self._doubts)
        return moved, not moved and count.are_all(self._uids, self._gid, self._judged)

    def _stands(self, name: Key, process: Process) -> bool:
        return process.state in "Tt" or (name in self._stopped and process.state in (*STOPPED, HANGING))

    def _look(self) -> None:
        """Judge anew, and let those run on that have been stopped and are none any more."""
        try:
            verdicts = self._judge_again()
        except BaseException:
            self._strays = {}
            self._let_go(self._stopped)
            raise
        self._judged = {key(verdict.process) for verdict in verdicts}
        self._strays = {key(verdict.process): verdict.process for verdict in verdicts if verdict.stray}
        for verdict in verdicts:
            if not verdict.stray:
                self._sent.pop(key(verdict.process), None)
        # Who lost its parent while it was read is certain in the next pass; what a batch system does not tell is not.
        doubted = {key(verdict.process) for verdict in verdicts if verdict.reason == UNKNOWN}
        self._doubts = self._doubts + 1 if doubted else 0
        self._let_go(self._judged - (doubted if self._doubts <= MOST_DOUBTS else set()))

    def _let_go(self, some: Container[Key]) -> None:
        """Let those of ``some`` run on that we have stopped and that are no strays any more."""
        for name in [name for name in self._stopped if name in some and name not in self._strays]:
            send(self._stopped.pop(name), self._uids, SIGCONT)

    def _send(self, processes: Iterable[Process], signal: int) -> None:
        reached = [key(process) for process in processes if send(process, self._uids, signal)]
        if signal != SIGSTOP:
            self._sent.update(dict.fromkeys(reached, signal))

    def _await_end(self) -> None:
        late = min(self._deadline, time.monotonic() + END_SECONDS)
        while time.monotonic() < late and not all(map(has_gone, self._strays.values())):
            time.sleep(PAUSE_SECONDS)
