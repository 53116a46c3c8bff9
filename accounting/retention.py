"""Which rows of the store have come to their age: conditions in SQL.  Pure; ``expire`` carries them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from sqlalchemy import ColumnElement, and_, case, exists, func, or_

from gridwarden.accounting import schema
from gridwarden.accounting.pseudonyms import SILENT_KINDS
from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.retention_settings import BATCH_JOB
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from gridwarden.retention_settings import Retention

DAY = 86_400 * MICROSECONDS


class Cutoffs(NamedTuple):
    """What is older goes; ``identities`` is None where identities stay. Microseconds since the epoch."""

    default: int
    kinds: dict[str, int]
    identities: int | None

    @classmethod
    def of(cls, retention: Retention, now: int) -> Self:
        """Return what the settings say, now."""
        kinds = {one.kind: now - one.days * DAY for one in retention.kinds}
        days = retention.pseudonym_days
        return cls(now - retention.days * DAY, kinds, None if days is None else now - days * DAY)

    def of_kind(self, kind: str) -> int:
        """Return that of one kind of record."""
        return self.kinds.get(kind, self.default)


def record_expired(cutoffs: Cutoffs) -> ColumnElement[bool]:
    """A record is too old for its kind, and is not the lending of a lease that was seen since."""
    records = schema.records.c
    kinds = [(records.kind == kind, cutoff) for kind, cutoff in cutoffs.kinds.items()]
    cutoff: ColumnElement[int] | int = case(*kinds, else_=cutoffs.default) if kinds else cutoffs.default
    return and_(records.time < cutoff, ~_lease_seen_since(cutoffs.default))


def record_names_too_long(cutoff: int) -> ColumnElement[bool]:
    """A record still has what it says of people, at an age at which it should not."""
    records = schema.records.c
    return and_(
        records.time < cutoff,
        records.altered.is_(None),
        records.body.is_not(None),
        func.coalesce(records.kind, "").not_in(SILENT_KINDS),
        ~_lease_seen_since(cutoff),
    )


def run_expired(cutoffs: Cutoffs) -> ColumnElement[bool]:
    """A run is too old for the record of its start, which is another kind for a payload than for a job."""
    payload = schema.job_runs.c.batch == PAYLOAD
    return or_(
        and_(payload, run_older(cutoffs.of_kind("payload_start"))),
        and_(~payload, run_older(cutoffs.of_kind("job_start"))),
    )


def run_older(cutoff: int) -> ColumnElement[bool]:
    """A run of a job or payload ended before; one whose end nobody recorded started before."""
    runs = schema.job_runs.c
    return func.coalesce(runs.end, runs.start) < cutoff


def job_older(cutoff: int) -> ColumnElement[bool]:
    """A batch system's job ended before; one that never started and has no end was submitted before."""
    jobs = schema.batch_jobs.c
    return or_(jobs.end < cutoff, and_(jobs.end.is_(None), func.coalesce(jobs.start, jobs.submit) < cutoff))


def step_of_older_job(cutoff: int) -> ColumnElement[bool]:
    """A step is of such a job."""
    jobs, steps = schema.batch_jobs.c, schema.batch_steps.c
    keys = ("batch", "cluster", "job", "submit", "restart")
    return exists().where(*(jobs[key] == steps[key] for key in keys), job_older(cutoff)).correlate(schema.batch_steps)


def batch_job_cutoff(cutoffs: Cutoffs) -> int:
    """Return that of the batch systems' own records."""
    return cutoffs.of_kind(BATCH_JOB)


def _lease_seen_since(cutoff: int) -> ColumnElement[bool]:
    records, later = schema.records.c, schema.records.alias("later").c
    return and_(
        records.kind == "lease",
        exists()
        .where(later.account == records.account, later.lease == records.lease, later.time >= cutoff)
        .correlate(schema.records),
    )
