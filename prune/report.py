"""What one run of the pruner saw and did: rows for people and programs, counts, and an exit code."""

from __future__ import annotations

from gridwarden.prune import reasons, trace
from gridwarden.prune.signals import STOPPED

TYPE_CHECKING = False  # typing's own costs a quiet run 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.proc import Process
    from gridwarden.prune.files import Left
    from gridwarden.prune.judge import Verdict
    from gridwarden.prune.outcome import Outcome
    from gridwarden.prune.recording import Owner

    Row = dict[str, object]

COLUMNS = (
    "action", "account", "what", "reason", "job", "detail", "lease", "subject", "pid", "process_start", "parent",
    "cpu", "arguments",
)  # fmt: skip
SHOWN = 6  # of the columns, in a table

SPARED, WOULD_KILL, WOULD_FREEZE, KILLED, FROZEN = "spared", "would kill", "would freeze", "killed", "frozen"
WOULD_REMOVE, WOULD_QUARANTINE, REMOVED, QUARANTINED = "would remove", "would quarantine", "removed", "quarantined"
LEFT, UNKNOWN = "left", "unknown"
ACTIONS = (
    SPARED, WOULD_KILL, WOULD_FREEZE, KILLED, FROZEN, WOULD_REMOVE, WOULD_QUARANTINE, REMOVED, QUARANTINED, LEFT,
    UNKNOWN,
)  # fmt: skip
MOST_ROWS = 1000  # of one action; more are only counted
UNSEEN = "they start and end too fast to be looked at, and got the signal with all others of the account"

DONE, SOMETHING_LEFT, CANNOT_TELL = 0, 1, 75  # exit codes, as in docs/exit-codes.md
NAGIOS = {DONE: "OK", SOMETHING_LEFT: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}


class Report:
    """Rows, and how many there were of each action, rows that are left out included.

    ``acts``: whether this run killed and removed; ``unknown``: why it could not be told what runs here, by
    batch system, or empty: then nothing was killed anywhere; ``seconds``: how long the run took.
    """

    __slots__ = ("acts", "counts", "rows", "seconds", "unknown")

    def __init__(self, *, acts: bool) -> None:
        self.acts = acts
        self.rows: list[Row] = []
        self.counts = dict.fromkeys(ACTIONS, 0)
        self.unknown: dict[str, str] = {}
        self.seconds = 0.0

    def add(self, action: str, account: str, what: str, **more: object) -> None:
        """Add a row."""
        self.counts[action] += 1
        if self.counts[action] <= MOST_ROWS:
            self.rows.append({"action": action, "account": account, "what": what, **more})

    def doubt(self, batch: str, why: str) -> None:
        """Add that a batch system did not say which jobs run here."""
        if batch not in self.unknown:
            self.add(UNKNOWN, "", batch, detail=why)
        self.unknown[batch] = why

    def doubt_about(self, account: str, what: str, why: str) -> None:
        """Add that a batch system, or a process, leaves it open what is to become of some processes of an account."""
        self.add(UNKNOWN, account, what, detail=why)

    def judged(self, verdicts: Iterable[Verdict], action: str, hold: str = "") -> None:
        """Add processes that nothing was done to."""
        for verdict in verdicts:
            process = verdict.process
            done, detail = _of_hold(action, process, hold) if hold else (action, reasons.SENTENCES[verdict.reason])
            row = {**_facts(process, None), "reason": verdict.reason, "job": verdict.job, "detail": detail}
            self.add(done, verdict.account, _shown(process), **row)

    def processes(self, owner: Owner, outcome: Outcome, why: str, job: str, hold: str, *, left: bool = True) -> None:
        """Add what became of an account's processes; without those that are ``left`` when there is more to come."""
        for process in outcome.killed.values():
            action, detail = _of_hold(FROZEN, process, hold) if hold else (KILLED, reasons.SENTENCES[why])
            arguments = trace.arguments(process, outcome.command_lines) if self.counts[action] < MOST_ROWS else None
            row = {**_facts(process, arguments), "lease": owner.lease, "subject": owner.subject}
            self.add(action, owner.account, _shown(process), **row, reason=why, job=job, detail=detail)
        if outcome.unseen:
            what = f"processes of uid {owner.uid} that no look saw"
            self.add(FROZEN if hold else KILLED, owner.account, what, reason=why, job=job, detail=UNSEEN)
        if left:
            self.left(owner.account, outcome.left)

    def left(self, account: str, left: Left) -> None:
        """Add what could not be killed or removed, or listed, each with why."""
        for what, why in left:
            self.add(LEFT, account, what, detail=why)

    def is_quiet(self) -> bool:
        """Whether there is nothing to say."""
        return all(row["action"] == SPARED for row in self.rows)

    def strays(self) -> int:
        """How many strays there were, whatever became of them."""
        return sum(self.counts[action] for action in (WOULD_KILL, WOULD_FREEZE, KILLED, FROZEN))

    def exit_code(self) -> int:
        """0: nothing is left to do, 1: something is, 75: it could not be told what runs here."""
        if self.unknown:
            return CANNOT_TELL
        open_ends = (WOULD_KILL, WOULD_FREEZE, WOULD_REMOVE, WOULD_QUARANTINE, LEFT, UNKNOWN)
        return SOMETHING_LEFT if any(self.counts[action] for action in open_ends) else DONE

    def summary(self) -> str:
        """One sentence: how many of each action, and why nothing was done where nothing could be."""
        if self.unknown:
            whose = "; ".join(f"{batch}: {why}" for batch, why in self.unknown.items())
            done = self._counted(KILLED, FROZEN, REMOVED, QUARANTINED)
            what = f"{done}, and then no more" if done else "nothing was killed or removed"
            return f"{what}, since it cannot be told what runs here: {whose}"
        return self._counted(*(action for action in ACTIONS if action != SPARED)) or "no strays and nothing to remove"

    def _counted(self, *actions: str) -> str:
        return ", ".join(f"{self.counts[action]} {action}" for action in actions if self.counts[action])

    def nagios(self) -> tuple[str, int]:
        """The line and the exit code that the Nagios plug-in interface asks for (monitoring-plugins guidelines)."""
        code = {DONE: 0, SOMETHING_LEFT: 1, CANNOT_TELL: 3}[self.exit_code()]
        if self.acts and self.counts[LEFT] and not self.unknown:
            code = 2
        figures = {"strays": self.strays(), "killed": self.counts[KILLED], "left": self.counts[LEFT]}
        performance = " ".join(f"{name}={value}" for name, value in figures.items())
        text = self.summary().replace("|", "/").replace("\n", " ")
        return f"GRIDWARDEN-PRUNE {NAGIOS[code]} - {text} | {performance} seconds={self.seconds:.3f}s", code


def _of_hold(action: str, process: Process, hold: str) -> tuple[str, str]:
    """What to say of a process of an account on hold, and why; one that stood still already is no news."""
    return (SPARED, f"stands still, on hold: {hold}") if process.state in STOPPED else (action, hold)


def _facts(process: Process, arguments: str | None) -> Row:
    return {
        "pid": process.pid,
        "process_start": process.started(),
        "parent": process.parent,
        "cpu": process.cpu,
        "arguments": arguments,
    }


def _shown(process: Process) -> str:
    return f"process {process.pid} ({process.command})"
