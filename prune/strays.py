"""Kill or stop the strays of an account beside its live job, whose processes no signal may reach.

What is killed may have forked just before, and its parent may start another, so all are stopped first, until
passes find nothing that still runs; then they are killed where they stand.  A control group of strays alone is
killed as a whole.  A bomb outside of one whose processes live shorter than a pass may outrun this: that is
reported, and ends with the job, when the account can be emptied.  Callers hold the account's lock.
"""

from __future__ import annotations

import time

from gridwarden.prune import control_group, count
from gridwarden.prune.outcome import Outcome
from gridwarden.prune.signals import HANGING, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, STOPPED, Urgent, has_gone, key, send

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from gridwarden.proc import Process
    from gridwarden.prune.judge import Verdict
    from gridwarden.prune.signals import Key

    JudgeAgain = Callable[[], list[Verdict]]
    Strays = dict[Key, Process]

PAUSE_SECONDS = 0.01
CHASE_SECONDS = 5.0  # of stopping what keeps appearing, before those that are stopped are killed
END_SECONDS = 2.0  # for what was killed to be gone, unless it hangs in the kernel
QUIET_PASSES = 5  # that find nothing new settle it on a machine where somebody forks all the time
RESTLESS = "new ones keep appearing: they fork faster than they can be stopped beside a live job"


def kill_strays(
    uid: int, judge_again: JudgeAgain, seconds: float, term_seconds: float = 0.0, *, dry_run: bool = False
) -> Outcome:
    """Kill what ``judge_again``, which reads and judges the processes of account ``uid`` anew, calls strays.

    For at most ``seconds``, ``term_seconds`` of them after a SIGTERM.  Whatever ``judge_again`` raises ends it,
    and lets those run on that had been stopped.
    """
    chase = Chase(uid, judge_again, time.monotonic() + seconds)
    with Urgent():
        if chase.begin() and not dry_run:
            if term_seconds:
                chase.terminate(term_seconds)
            chase.kill_groups()
            chase.kill()
    return chase.outcome


def freeze_strays(uid: int, judge_again: JudgeAgain, seconds: float, *, dry_run: bool = False) -> Outcome:
    """Stop what ``judge_again`` calls strays, for at most ``seconds``, and leave it so, as evidence."""
    chase = Chase(uid, judge_again, time.monotonic() + seconds)
    with Urgent():
        if chase.begin() and not dry_run:
            chase.freeze()
    return chase.outcome


class Chase:
    """The hunt for the strays of one account; ``outcome`` is what has come of it so far."""

    def __init__(self, uid: int, judge_again: JudgeAgain, deadline: float) -> None:
        self.outcome = Outcome()
        self._uid = uid
        self._judge_again = judge_again
        self._deadline = deadline
        self._strays: Strays = {}
        self._stopped: Strays = {}  # as they were before
        self._reached: set[Key] = set()

    def begin(self) -> bool:
        """Judge for the first time; whether there is anything to do."""
        self._look()
        return bool(self._strays)

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
            killed = control_group.kill_cgroup(path, self._uid, self._judge_again)
            self.outcome.remember(killed)
            self._reached.update(map(key, killed))

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
        self._report(self._reached, [stray for stray in self._strays.values() if not has_gone(stray)], settled=settled)

    def freeze(self) -> None:
        """Stop the strays for good."""
        settled = self._stop()
        left = [process for process in self._strays.values() if process.state not in STOPPED]
        self._report(self._strays.keys(), left, settled=settled)

    def _report(self, reached: Collection[Key], left: Iterable[Process], *, settled: bool) -> None:
        self.outcome.keep(reached)
        self.outcome.leave(left)
        if not settled:
            self.outcome.left.append((f"processes of uid {self._uid}", RESTLESS))

    def _stop(self) -> bool:
        """Stop strays until none appears that runs; whether it came to that."""
        give_up = min(self._deadline, time.monotonic() + CHASE_SECONDS)
        quiet = 0
        while True:
            born = count.last_pid()
            self._look()
            running = [process for name, process in self._strays.items() if not self._stands(name, process)]
            quiet = 0 if running else quiet + 1
            # What stands still in two passes did not fork in between; where nobody forked at all, no pass missed any.
            if quiet >= QUIET_PASSES or (quiet > 1 and born == count.last_pid()):
                return True
            if time.monotonic() > give_up:
                return False
            self._stopped = {key(process): process for process in running} | self._stopped
            self._send(running, SIGSTOP)
            time.sleep(PAUSE_SECONDS)

    def _stands(self, name: Key, process: Process) -> bool:
        return process.state in "Tt" or (name in self._stopped and process.state in (*STOPPED, HANGING))

    def _look(self) -> None:
        """Judge anew; remember the strays, and let those run on that have been stopped and are none any more."""
        try:
            verdicts = self._judge_again()
        except BaseException:
            for process in self._stopped.values():
                send(process, self._uid, SIGCONT)
            raise
        self._strays = {key(verdict.process): verdict.process for verdict in verdicts if verdict.stray}
        self.outcome.remember(self._strays.values())
        self._reached.difference_update(key(verdict.process) for verdict in verdicts if not verdict.stray)
        for name in self._stopped.keys() - self._strays.keys():
            send(self._stopped.pop(name), self._uid, SIGCONT)

    def _send(self, processes: Iterable[Process], signal: int) -> None:
        self._reached.update(key(process) for process in processes if send(process, self._uid, signal))

    def _await_end(self) -> None:
        late = min(self._deadline, time.monotonic() + END_SECONDS)
        while time.monotonic() < late and not all(map(has_gone, self._strays.values())):
            time.sleep(PAUSE_SECONDS)
