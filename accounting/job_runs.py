"""What the records of starts and ends of one ledger say together: the runs of jobs, and of payloads, on its nodes.

A payload is a run of the batch "payload" under its own id; the pilot's job, in which it ran, is another run.
"""

from __future__ import annotations

from typing import NamedTuple

from gridwarden.accounting.job_names import of_node
from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.records import Value

Body = dict[str, Value]
_Name = tuple[str, str, str, str]

SOMEBODY = "?"  # held under no lease of ours: another program had lent the account to somebody else
LAUNCHER = "launcher"  # evidence of a payload: who started it verified the credential itself


class Run(NamedTuple):
    """One job on one node, from the record of its start on; ``end`` is None while nothing has ended it.

    ``ledger`` and ``seq`` name the record of its start.  ``ended_by`` is "job_end", "payload_end", "restart" (the node was
    started again without one: ``end`` is then the first record after it) or "".  ``held`` is the lease under which the
    account was lent when its end was recorded, ``SOMEBODY`` under none of ours, "" where that was not seen.  Times are microseconds since the epoch.
    """

    ledger: str
    seq: int
    batch: str
    cluster: str
    node: str
    job: str
    restart: int
    account: str
    lease: str
    scheme: str
    subject: str
    vo: str
    stamp: str
    evidence: str
    boot: str
    start: int
    end: int | None
    ended_by: str
    held: str = ""

    @property
    def changed_hands(self) -> bool:
        """Whether the account was somebody else's when the end of the run was recorded."""
        return self.held not in {"", self.lease}


class Seen(NamedTuple):
    """An observation: the record before a ``job_end`` of the same moment, where its hook could look."""

    time: int
    account: str
    lease: str


NOTHING_SEEN = Seen(0, "", "")


class OpenRuns:
    """The runs of one ledger that have not ended, brought forward record by record.

    ``seen`` is what the record before the first was, if an observation.  A run that a record changes is kept in
    ``changed``, by the sequence number of its start, until it is taken.
    """

    def __init__(self, ledger: str, runs: list[Run], seen: Seen = NOTHING_SEEN) -> None:
        self._ledger = ledger
        self._seen = seen
        self._open: dict[_Name, dict[int, Run]] = {}
        self._boots: set[str] = set()
        self.changed: dict[int, Run] = {}
        for run in runs:
            if run.end is None:
                self._begin(run)

    def add(self, seq: int, body: Body) -> None:
        """Take the next record into account; a record of another kind only shows that its node lives on."""
        boot = text(body, "boot")
        if boot and self._boots and (boot not in self._boots or len(self._boots) > 1):
            self._restarted(boot, number(body, "time"))
        kind = body.get("kind")
        if kind in ("payload_start", "payload_end"):
            body = {**body, "batch": PAYLOAD, "job": text(body, "payload"), "restart": 0, "evidence": LAUNCHER}
        if kind in ("job_start", "payload_start"):
            run = _begin(self._ledger, seq, body)
            self.changed[seq] = run
            self._begin(run)
        elif kind in ("job_end", "payload_end"):
            restart, time = number(body, "restart"), number(body, "time")
            # Slurm counts a restart before the Epilog of the run that it requeues, and runs a job once at a time.
            for run in list(self._open.get(_name(body), {}).values()):
                if run.restart <= restart:
                    seen = kind == "job_end" and self._seen[:2] == (time, run.account)
                    self._end(run, time, str(kind), (self._seen.lease or SOMEBODY) if seen else "")
        self._seen = NOTHING_SEEN
        if kind == "observation":
            self._seen = Seen(number(body, "time"), text(body, "account"), text(body, "lease"))

    def take_changed(self) -> list[Run]:
        """Return the runs that changed since this was called last."""
        changed, self.changed = self.changed, {}
        return list(changed.values())

    def _begin(self, run: Run) -> None:
        self._open.setdefault((run.batch, run.cluster, run.node, run.job), {})[run.seq] = run
        self._boots.add(run.boot)

    def _restarted(self, boot: str, time: int) -> None:
        """End what ran before the node was started again."""
        for run in [run for runs in self._open.values() for run in runs.values() if run.boot != boot]:
            self._end(run, time, "restart")
        self._boots = {boot}

    def _end(self, run: Run, time: int, ended_by: str, held: str = "") -> None:
        name = (run.batch, run.cluster, run.node, run.job)
        del self._open[name][run.seq]
        if not self._open[name]:
            del self._open[name]
        self.changed[run.seq] = run._replace(end=max(time, run.start), ended_by=ended_by, held=held)


def text(body: Body, field: str) -> str:
    """Return a field of a record as text, empty where it is missing."""
    value = body.get(field)
    return value if type(value) is str else "" if value is None else str(value)


def number(body: Body, field: str) -> int:
    """Return a field of a record as an integer, 0 where it is missing or is none."""
    value = body.get(field)
    if isinstance(value, int):
        return value
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 19 else 0


def _begin(ledger: str, seq: int, body: Body) -> Run:
    batch, cluster, job = _job(body)
    return Run(
        ledger=ledger,
        seq=seq,
        batch=batch,
        cluster=cluster,
        node=text(body, "node"),
        job=job,
        restart=number(body, "restart"),
        account=text(body, "account"),
        lease=text(body, "lease"),
        scheme=text(body, "scheme"),
        subject=text(body, "subject"),
        vo=text(body, "vo"),
        stamp=text(body, "stamp"),
        evidence=text(body, "evidence"),
        boot=text(body, "boot"),
        start=number(body, "time"),
        end=None,
        ended_by="",
    )


def _name(body: Body) -> _Name:
    batch, cluster, job = _job(body)
    return batch, cluster, text(body, "node"), job


def _job(body: Body) -> tuple[str, str, str]:
    return of_node(text(body, "batch"), text(body, "cluster"), text(body, "job"))
