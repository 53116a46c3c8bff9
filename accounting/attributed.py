"""Read what the store has of jobs, and attribute each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, exists, func, or_, select, text

from gridwarden.accounting import schema, spans
from gridwarden.accounting.attribute import Attribution, attribute
from gridwarden.accounting.batch_records import HTCONDOR, Job, Step
from gridwarden.accounting.histories import Histories, leases_of
from gridwarden.accounting.job_runs import Run
from gridwarden.accounting.payload_runs import JobKey, JobName, Payload, Placed, place, read_payloads
from gridwarden.accounting.process_records import BLUR
from gridwarden.accounting.rows import IN_ONE_QUERY, batches
from gridwarden.accounting.same_job import CLOCK_SKEW, is_of
from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.times import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.accounting.lease_history import Sighting

_FOREVER = 1 << 62
_HALF = 1 << 32
_PAYLOAD_RUN = [schema.job_runs.c[name] for name in ("ledger", "seq", "end")]


class Attributed(NamedTuple):
    """A job, what is known of it, and its division."""

    job: Job
    steps: list[Step]
    payloads: list[Payload]
    attribution: Attribution


class Division(NamedTuple):
    """The jobs, and the payloads of the same time that are of no batch job, each with the reason and its owner."""

    jobs: list[Attributed]
    outside: list[tuple[Payload, str, Sighting | None]]


def ended_within(connection: Connection, within: Range) -> Division:
    """Attribute the jobs that ended within a range; payloads outside of jobs are those that ended within it.

    One that has no end is taken by its start.
    """
    table = schema.batch_jobs
    ended = select(table).where(table.c.end >= within.start, table.c.end < within.end)
    ended = ended.order_by(table.c.end, *table.primary_key)  # what is made of the same store is the same, line by line
    jobs = [Job(*row) for row in connection.execute(ended)]
    placed = _placed(connection, jobs, within)
    outside = [
        (payload, because)
        for payload, because in placed.outside
        if within.start <= (payload.start if payload.end is None else payload.end) < within.end
    ]
    leases = leases_of(connection, [payload.lease for payload, _ in outside if not payload.subject])
    nobodys = [(payload, because, leases.get(payload.lease)) for payload, because in outside]
    return Division(list(_attributed(connection, jobs, placed)), nobodys)


def of_number(connection: Connection, number: str) -> list[Attributed]:
    """Attribute every run of the jobs of this number, of whichever batch system, oldest first."""
    table = schema.batch_jobs
    named = select(table).where(table.c.job == number).order_by(*list(table.primary_key))
    jobs = [Job(*row) for row in connection.execute(named)]
    return list(_attributed(connection, jobs, _placed(connection, jobs, None)))


def _attributed(connection: Connection, jobs: list[Job], placed: Placed) -> Iterator[Attributed]:
    histories = Histories(connection)
    for chunk in batches(jobs, IN_ONE_QUERY):
        steps, runs = _steps(connection, chunk), _runs(connection, chunk)
        exact = _exact(connection, chunk)
        payloads = {job[:5]: placed.of_job.get(job[:5], []) for job in chunk}
        owners = [each.lease for of_job in payloads.values() for each in of_job]
        lent = [lease for of_job in runs.values() for run in of_job for lease in (run.lease, run.held)]
        leases = leases_of(connection, [*(job.stamp for job in chunk), *owners, *lent])
        histories.read(
            job.account
            for job in chunk
            if not any(is_of(run, job) and not run.changed_hands for run in runs.get(job.job, []))
        )
        for job in chunk:
            key = job[:5]
            # Runs of HTCondor's came before their job, whose name another's ad may bear, and then keep a run of its own away.
            of_job = steps.get(key, [])
            own = of_job if all(step.account in {"", job.account} for step in of_job) else []
            facts = (own, runs.get(job.job, []), leases, payloads[key], histories.of(job.account))
            attribution = attribute(job, *facts, exact=exact.get(key, 0))
            yield Attributed(job, facts[0], payloads[key], attribution)


def _exact(connection: Connection, jobs: Sequence[Job]) -> dict[JobKey, int]:
    """Return what the processes of each job used by exit statistics, those of its own account that lived while it did.

    Not those that clocks which differ would let in: they may be of the run before or after this one.  Where HTCondor has
    one job of a number, all are its: when it ran is its owner's word.
    """
    jobs_table, each, other = schema.batch_jobs.c, schema.processes.c, schema.batch_jobs.alias("other").c
    alone = ~exists().where(
        other.batch == HTCONDOR, other.cluster == jobs_table.cluster, other.job == jobs_table.job,
        other.submit != jobs_table.submit,
    )  # fmt: skip
    only = and_(jobs_table.batch == HTCONDOR, alone)
    began = each.start >= func.coalesce(jobs_table.start, jobs_table.submit) - BLUR
    ended = or_(jobs_table.end.is_(None), each.end <= jobs_table.end + BLUR)
    query = (
        select(*list(schema.batch_jobs.primary_key), *_sums(each.cpu))
        .where(*_of(jobs, schema.batch_jobs))
        .where(each.job == jobs_table.job, each.batch == jobs_table.batch, each.cluster == jobs_table.cluster)
        .where(each.job != "", each.exact == 1, each.account == jobs_table.account)
        .where(or_(and_(began, ended), only))
        .group_by(*list(schema.batch_jobs.primary_key))
    )
    return {tuple(row[:5]): _sum(row[5], row[6]) for row in connection.execute(query)}


def _sums(column: Column[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Add up the upper and the lower halves: root of a node can write figures whose sum no database holds."""
    return func.sum(column // _HALF), func.sum(column % _HALF)


def _sum(upper: int | None, lower: int | None) -> int:
    return int(upper or 0) * _HALF + int(lower or 0)


def _placed(connection: Connection, jobs: list[Job], within: Range | None) -> Placed:
    """Place the payloads that ran while any of the jobs did, or within the range.

    To all runs of the jobs that they name, whether those are asked for or not: else a payload would be one job's in one
    report, and another's in the next.
    """
    moments = [*(within or ())]
    for job in jobs:
        begin = job.submit if job.start is None else job.start
        moments += [begin - CLOCK_SKEW, _FOREVER if job.end is None else job.end + CLOCK_SKEW]
    if not moments:
        return Placed({}, [])
    payloads = _payloads(connection, Range(min(moments), max(moments) + 1))
    named = sorted({(payload.batch, payload.cluster, payload.job) for payload in payloads if payload.job})
    table = schema.batch_jobs
    rivals: list[Job] = []
    ledgers: dict[JobName, frozenset[str]] = {}
    for chunk in batches(named, IN_ONE_QUERY):
        rivals += [Job(*row) for row in connection.execute(select(table).where(*_of(chunk, table)))]
        for run in itertools.chain.from_iterable(_runs(connection, chunk).values()):
            name = (run.batch, run.cluster, run.job)
            ledgers[name] = ledgers.get(name, frozenset()) | {run.ledger}
    return place(payloads, rivals, ledgers)


def _payloads(connection: Connection, within: Range) -> list[Payload]:
    """Return the payloads that ran within a range, also those of which only an end within it was recorded."""
    records = schema.records.c
    # An index of payloads alone serves who says so in these very words.
    lasted = text(spans.select_overlapping('ledger, seq, "end"', "job_runs", "batch = 'payload'"))
    runs = lasted.bindparams(since=within.start, until=within.end).columns(*_PAYLOAD_RUN).subquery("runs").c
    ran = select(runs.ledger, runs.seq, records.body, runs.end).where(
        records.ledger == runs.ledger, records.seq == runs.seq, records.body.is_not(None)
    )
    found = connection.execute(ran).all()
    starts = [(ledger, seq, json.loads(body)) for ledger, seq, body, _ in found]
    latest = max((end for *_, end in found if end is not None), default=within.end)
    ended = select(records.ledger, records.seq, records.body).where(
        records.kind == "payload_end",
        records.time >= within.start,
        records.time <= max(latest, within.end),
        records.body.is_not(None),
    )
    # An end after the range of a payload that began after it, too, looks like one without a start, and is of nothing asked for.
    ends = ((ledger, seq, json.loads(body)) for ledger, seq, body in connection.execute(ended))
    payloads = read_payloads(starts, ends)
    counted = _exits_of_payloads(connection, [payload.payload for payload in payloads if not payload.whole])
    return [payload.with_exits(counted.get((payload.payload, payload.account), 0)) for payload in payloads]


def _exits_of_payloads(connection: Connection, payloads: list[str]) -> dict[tuple[str, str], int]:
    """Return what the processes used by exit statistics that were in the control groups of these payloads, by payload and account."""
    each = schema.processes.c
    found: dict[tuple[str, str], int] = {}
    for chunk in batches(payloads, IN_ONE_QUERY):
        query = select(each.job, each.account, *_sums(each.cpu)).where(
            each.job.in_(chunk), each.job != "", each.batch == PAYLOAD, each.exact == 1
        )
        for payload, account, *halves in connection.execute(query.group_by(each.job, each.account)):
            found[payload, account] = _sum(*halves)
    return found


def _steps(connection: Connection, jobs: list[Job]) -> dict[JobKey, list[Step]]:
    table = schema.batch_steps
    found: dict[JobKey, list[Step]] = {}
    for row in connection.execute(select(table).where(*_of(jobs, table))):
        step = Step(*row)
        found.setdefault(step[:5], []).append(step)
    return found


def _runs(connection: Connection, jobs: Sequence[tuple[object, ...]]) -> dict[str, list[Run]]:
    table = schema.job_runs
    found: dict[str, list[Run]] = {}
    for row in connection.execute(select(table).where(*_of(jobs, table))):
        run = Run(*row)
        found.setdefault(run.job, []).append(run)
    return found


def _of(jobs: Sequence[tuple[object, ...]], table: Table) -> list[ColumnElement[bool]]:
    """Name all the columns that an index of jobs begins with; the jobs begin with batch, cluster and number."""
    columns = (table.c.batch, table.c.cluster, table.c.job)
    return [column.in_({job[index] for job in jobs}) for index, column in enumerate(columns)]
