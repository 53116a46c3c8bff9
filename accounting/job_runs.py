"""What the records of starts and ends of one ledger say together: the runs of jobs, and of payloads, on its nodes.

A payload is a run of the batch "payload" under its own id; the pilot's job, in which it ran, is another run.
"""

from __future__ import annotations

from typing import NamedTuple

from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.records import Value

Body = dict[str, Value]

LAUNCHER = "launcher"  # evidence of a payload: who started it verified the credential itself


class Run(NamedTuple):
    """One job on one node, from the record of its start on; ``end`` is None while nothing has ended it.

    ``ledger`` and ``seq`` name the record of its start.  ``ended_by`` is "job_end", "payload_end", "restart" (the node was
    started again without one: ``end`` is then the first record after it) or "".  Times are
    microseconds since the epoch.
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


class OpenRuns:
    """The runs of one ledger that have not ended, brought forward record by record.

    A run that a record changes is kept in ``changed``, by the sequence number of its start.
    """

    def __init__(self, ledger: str, runs: list[Run]) -> None:
        self._ledger = ledger
        self._open = {run.seq: run for run in runs if run.end is None}
        self.changed: dict[int, Run] = {}

    def add(self, seq: int, body: Body) -> None:
        """Take the next record into account; a record of another kind only shows that its node lives on."""
        boot, time = text(body, "boot"), number(body, "time")
        for run in [run for run in self._open.values() if boot and run.boot != boot]:
            self._end(run, time, "restart")
        kind = body.get("kind")
        if kind in ("payload_start", "payload_end"):
            body = {**body, "batch": PAYLOAD, "job": text(body, "payload"), "restart": 0, "evidence": LAUNCHER}
        if kind in ("job_start", "payload_start"):
            self._open[seq] = self.changed[seq] = _begin(self._ledger, seq, body)
        elif kind in ("job_end", "payload_end"):
            for run in [run for run in self._open.values() if _same_job(run, body)]:
                self._end(run, time, str(kind))

    def _end(self, run: Run, time: int, ended_by: str) -> None:
        del self._open[run.seq]
        self.changed[run.seq] = run._replace(end=max(time, run.start), ended_by=ended_by)


def text(body: Body, field: str) -> str:
    """Return a field of a record as text, empty where it is missing."""
    value = body.get(field)
    return "" if value is None else str(value)


def number(body: Body, field: str) -> int:
    """Return a field of a record as an integer, 0 where it is missing or is none."""
    value = body.get(field)
    if isinstance(value, int):
        return value
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 19 else 0


def _begin(ledger: str, seq: int, body: Body) -> Run:
    return Run(
        ledger=ledger,
        seq=seq,
        batch=text(body, "batch"),
        cluster=text(body, "cluster"),
        node=text(body, "node"),
        job=text(body, "job"),
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


def _same_job(run: Run, body: Body) -> bool:
    # Slurm counts a restart before the Epilog of the run that it requeues, and runs a job once at a time.
    return (run.batch, run.cluster, run.node, run.job) == tuple(
        text(body, field) for field in ("batch", "cluster", "node", "job")
    ) and run.restart <= number(body, "restart")
