"""CPU time by identity, VO and account: read the jobs of a time, attribute each, add up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, func, select

from gridwarden.accounting import evidence, schema
from gridwarden.accounting.attribute import Attribution, attribute
from gridwarden.accounting.batch_records import Job, Step
from gridwarden.accounting.job_runs import Run
from gridwarden.accounting.lease_history import Sighting, sighting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gridwarden.accounting.store import Store
    from gridwarden.times import Range

PART, UNATTRIBUTED, DISCREPANCY, TOTAL = "part", "unattributed", "batch_discrepancy", "total"
BY = ("identity", "vo", "account")
_CHUNK = 400  # SQLite takes a limited number of values in one statement


class Row(NamedTuple):
    """One row of a report; ``cpu`` in microseconds.

    ``row`` tells parts, whose three names are filled as far as they are asked for, from the three sums that
    make the report add up.  ``evidence`` is the weakest level among what was added.
    """

    row: str
    identity: str
    vo: str
    account: str
    jobs: int
    cpu: int
    evidence: str


class Report(NamedTuple):
    """The rows, how many jobs had not ended, and why jobs stayed unattributed, with the number of each."""

    rows: list[Row]
    unfinished: int
    reasons: dict[str, int]


def report(store: Store, within: Range, by: tuple[str, ...]) -> Report:
    """Add up the CPU time of the jobs that ended within a range, as the store has them.

    Raises Unavailable.  The parts, ``unattributed`` and ``batch_discrepancy`` add up to ``total``, which is
    the sum of what the batch system says of each job.
    """
    with store.transaction() as connection:
        attributions = list(_attributions(connection, within))
        unfinished = _count_unfinished(connection, within)
    return Report([*_parts(attributions, by), *_sums(attributions)], unfinished, _reasons(attributions))


def _parts(attributions: Iterable[Attribution], by: tuple[str, ...]) -> list[Row]:
    groups: dict[tuple[str, ...], Row] = {}
    for attribution in attributions:
        for part in attribution.parts:
            names = {"identity": part.subject, "vo": part.vo, "account": part.account}
            # An identity is its scheme and its subject: the same text may be two people's in two schemes.
            key = (part.scheme if "identity" in by else "", *(names[name] for name in by))
            shown = {name: names[name] if name in by else "" for name in BY}
            old = groups.get(key) or Row(PART, **shown, jobs=0, cpu=0, evidence="")
            level = evidence.weakest({part.evidence, old.evidence} - {""})
            groups[key] = old._replace(jobs=old.jobs + 1, cpu=old.cpu + part.cpu, evidence=level)
    return sorted(groups.values(), key=lambda row: (-row.cpu, row))


def _sums(attributions: list[Attribution]) -> list[Row]:
    unattributed = sum(each.unattributed for each in attributions)
    discrepancy = sum(each.batch_discrepancy for each in attributions)
    total = sum(each.total for each in attributions)
    nobodys = sum(1 for each in attributions if not each.parts)
    differing = sum(1 for each in attributions if each.batch_discrepancy)
    return [
        Row(UNATTRIBUTED, "", "", "", nobodys, unattributed, ""),
        Row(DISCREPANCY, "", "", "", differing, discrepancy, ""),
        Row(TOTAL, "", "", "", len(attributions), total, ""),
    ]


def _reasons(attributions: Iterable[Attribution]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in attributions:
        if each.unattributed:
            counts[each.because] = counts.get(each.because, 0) + 1
    return counts


def _attributions(connection: Connection, within: Range) -> Iterator[Attribution]:
    table = schema.batch_jobs
    ended = select(table).where(table.c.end >= within.start, table.c.end < within.end)
    jobs = [Job(*row) for row in connection.execute(ended)]
    for start in range(0, len(jobs), _CHUNK):
        chunk = jobs[start : start + _CHUNK]
        steps, runs, leases = _steps(connection, chunk), _runs(connection, chunk), _leases(connection, chunk)
        for job in chunk:
            yield attribute(job, steps.get(job[:5], []), runs.get(job.job, []), leases)


def _steps(connection: Connection, jobs: list[Job]) -> dict[tuple[object, ...], list[Step]]:
    table = schema.batch_steps
    found: dict[tuple[object, ...], list[Step]] = {}
    for row in connection.execute(select(table).where(*_of(jobs, table))):
        step = Step(*row)
        found.setdefault(step[:5], []).append(step)
    return found


def _runs(connection: Connection, jobs: list[Job]) -> dict[str, list[Run]]:
    table = schema.job_runs
    found: dict[str, list[Run]] = {}
    for row in connection.execute(select(table).where(*_of(jobs, table))):
        run = Run(*row)
        found.setdefault(run.job, []).append(run)
    return found


def _of(jobs: list[Job], table: Table) -> list[ColumnElement[bool]]:
    """Name all the columns that an index of jobs begins with."""
    return [table.c[name].in_({getattr(job, name) for job in jobs}) for name in ("batch", "cluster", "job")]


def _leases(connection: Connection, jobs: list[Job]) -> dict[str, Sighting]:
    table = schema.records
    stamps = {job.stamp for job in jobs if job.stamp}
    query = select(table.c.body).where(table.c.lease.in_(stamps), table.c.kind == "lease").order_by(table.c.time)
    found = (sighting(json.loads(body)) for body in connection.scalars(query))
    return {each.lease: each for each in found}


def _count_unfinished(connection: Connection, within: Range) -> int:
    jobs = schema.batch_jobs.c
    query = select(func.count()).where(jobs.end.is_(None), jobs.start.is_not(None), jobs.start < within.end)
    return connection.scalar(query) or 0
