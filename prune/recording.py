"""Put what was done to an account's processes and files on record: the ledger first, then a syslog line each."""

from __future__ import annotations

import os

from gridwarden import holders, ledger, syslog_line
from gridwarden.errors import Refused
from gridwarden.ledger_room import Room
from gridwarden.prune import trace
from gridwarden.prune.signals import STOPPED, Uids

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container

    from gridwarden.proc import Process
    from gridwarden.prune.files import Left
    from gridwarden.prune.outcome import Outcome
    from gridwarden.records import Value

    Site = dict[str, list[str]]
    Facts = list[dict[str, Value]]

MOST_RECORDS = 1000  # of one kind in one clean-up; what is beyond is counted in a gap record


class Owner:
    """Whose processes and files they are.

    ``lease`` and ``subject`` are "" where nothing here says who holds the account; ``since`` is when they got it,
    in microseconds since the epoch, or 0.  ``batch`` and ``job`` name the job at whose end this is done, or "".
    ``uids`` are the account's own, ``uid``, and those that it is lent.
    """

    __slots__ = ("account", "batch", "cluster", "gid", "job", "lease", "node", "since", "subject", "uid", "uids")

    def __init__(
        self,
        account: str,
        uid: int,
        gid: int,
        cluster: str,
        node: str = "",
        *,
        batch: str = "",
        job: str = "",
        lent: Container[int] = (),
    ) -> None:
        self.account = account
        self.uid = uid
        self.uids = Uids(uid, lent)
        self.gid = gid
        self.cluster = cluster
        self.node = node or os.uname().nodename
        self.batch = batch
        self.job = job
        self.lease = ""
        self.subject = ""
        self.since = 0

    def look_up(self, site: Site) -> Owner:
        """Fill in who holds the account, where this machine's own files say so; the same object."""
        try:
            holder = holders.read(site["holders"][0], self.account)
        except Refused:
            return self
        if holder.uid == self.uid:
            self.lease, self.subject, self.since = holder.lease, holder.subject, holder.since
        return self

    def former(self) -> Owner:
        """The same account when somebody else held it, of whom nothing is known here."""
        return Owner(self.account, self.uid, self.gid, self.cluster, self.node, batch=self.batch, job=self.job)

    def at(self, when: int) -> Owner:
        """The owner at a time in microseconds since the epoch."""
        return self if when >= self.since else self.former()


class Recorder:
    """Records what happens to what one ``owner`` has here; its methods raise EvidenceError, ConfigurationError."""

    def __init__(self, site: Site, owner: Owner) -> None:
        self._directory = site["ledger"][0]
        self._owner = owner

    def room(self) -> Room:
        """Room for these records, to be held while that is done which they are of; raises as they do."""
        return Room(self._directory)

    def killed(self, outcome: Outcome, why: str) -> None:
        """Processes were killed, for one of ``prune.reasons``; what is left of them is recorded as well."""
        facts = self._processes([*outcome.killed.values()], outcome, why)
        signals = [outcome.signals[name] for name in outcome.killed]
        at = None
        try:
            kills = [{**fact, "signal": one, **self._job()} for fact, one in zip(facts, signals, strict=False)]
            at = self._write("kill", kills, len(outcome.killed))
        finally:  # where the ledger fails, syslog is all that says so
            for fact in facts:
                self._log("kill", "killed", at, fact)
        self._unseen(outcome, "killed")
        self.left(outcome.left)

    def frozen(self, outcome: Outcome, why: str, hold: str) -> None:
        """Processes were stopped, since the account is on hold; those that stood still already are on record."""
        newly = [one for one in outcome.killed.values() if one.state not in STOPPED]
        facts = self._processes(newly, outcome, why)
        at = self._write("frozen", [{**fact, "hold": hold} for fact in facts], len(newly))
        for fact in facts:
            self._log("kill", "frozen", at, {**fact, "hold": hold})
        self._unseen(outcome, "stopped")
        self.left(outcome.left)

    def removed(self, paths: list[str]) -> None:
        """Files, directories or IPC objects were removed."""
        at = self._write("removed", [{"path": path, **self._job()} for path in paths[:MOST_RECORDS]], len(paths))
        if paths:
            self._log("clean-up", "removed", at, {"files": len(paths)})

    def quarantined(self, moved: list[tuple[str, str]], hold: str) -> None:
        """Files were moved (from, to), since the account is on hold."""
        facts: Facts = [{"path": path, "into": into, "hold": hold} for path, into in moved[:MOST_RECORDS]]
        at = self._write("quarantined", facts, len(moved))
        if moved:
            self._log("clean-up", "quarantined", at, {"files": len(moved), "hold": hold})

    def left(self, left: Left) -> None:
        """What could not be killed or removed, each with why, is recorded as a gap."""
        whose = f"of account {self._owner.account}"
        if self._owner.job:
            whose = f"of {self._owner.batch} job {self._owner.job}, account {self._owner.account}"
        gaps = [(f"clean-up: {what}", why) for what, why in left[:MOST_RECORDS]]
        if len(left) > MOST_RECORDS:
            gaps.append(("clean-up", f"{len(left) - MOST_RECORDS} more are left"))
        at = self._append([("gap", _gap(f"{what} {whose}", why)) for what, why in gaps])
        for what, why in gaps:
            self._log("clean-up", "left", at, {"detail": f"{what}: {why}"})

    def _unseen(self, outcome: Outcome, done: str) -> None:
        """That there may have been more is a gap among these records."""
        if outcome.unseen:
            what = f"processes of account {self._owner.account} that no look saw"
            at = self._append([("gap", _gap(what, f"they were {done} with all others of it, at once"))])
            self._log("kill", done, at, {"detail": what})

    def _processes(self, processes: list[Process], outcome: Outcome, why: str) -> Facts:
        """The facts about as many of them as are recorded one by one."""
        facts: Facts = []
        for process in processes[:MOST_RECORDS]:
            holder = self._owner.at(process.started())
            about: dict[str, Value] = {"lease": holder.lease, "subject": holder.subject, "why": why}
            facts.append({**trace.fields(process, outcome.command_lines), **about})
        return facts

    def _write(self, kind: str, facts: Facts, number: int) -> tuple[int, str] | None:
        """Append one record a fact, and how many more of the ``number`` there are; number and hash of the last."""
        about: dict[str, Value] = {
            "account": self._owner.account, "uid": self._owner.uid, "lease": self._owner.lease
        }  # fmt: skip
        entries = [(kind, {**about, **fact}) for fact in facts[:MOST_RECORDS]]
        if number > MOST_RECORDS:
            more = f"there are {number - MOST_RECORDS} more"
            entries.append(("gap", _gap(f"{kind} records of account {self._owner.account}", more)))
        return self._append(entries)

    def _append(self, entries: list[tuple[str, dict[str, Value]]]) -> tuple[int, str] | None:
        if not entries:
            return None
        return ledger.append_all(self._directory, entries, node=self._owner.node, cluster=self._owner.cluster)

    def _job(self) -> dict[str, Value]:
        return {"batch": self._owner.batch or None, "job": self._owner.job or None}

    def _log(self, event: str, outcome: str, at: tuple[int, str] | None, fact: dict[str, Value]) -> None:
        seq, head = at or (None, None)
        owner = self._owner
        about: dict[str, Value] = {"account": owner.account, "node": owner.node, "lease": owner.lease, **self._job()}
        syslog_line.decision(event, outcome, **(about | fact), seq=seq, head=head)


def _gap(what: str, reason: str) -> dict[str, Value]:
    return {"what": what, "reason": reason, "bytes": None, "sha256": None}
