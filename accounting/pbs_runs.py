"""Tell the runs of PBS's jobs apart that have the same ``run_count``, which an operator can set back.

They do so to let a job go that was held for too many runs; the runs after that are counted from one again.  The earliest
keeps the count; the others' restart is the seconds from submission to start, as Torque's is, whichever is imported first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, delete, select

from gridwarden.accounting import rows, schema
from gridwarden.accounting.batch_records import PBS, Job
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from gridwarden.accounting.payload_runs import JobKey

Span = tuple[int | None, int | None]


def tell_apart(connection: Connection, jobs: list[Job]) -> tuple[list[Job], set[int]]:
    """Return the rows to be stored, and the indices of the jobs that cannot be told from another run.

    A run that the store has under a count that is an earlier one's is taken out, and returned under its new restart.
    """
    known = _known(connection, jobs)
    stored: dict[JobKey, Job] = {}
    odd: set[int] = set()
    for index, job in enumerate(jobs):
        there = known.setdefault(job[:5], (job.start, job.end))
        if there == (job.start, job.end):
            stored[job[:5]] = job
            continue
        is_first = (job.start or 0) < (there[0] or 0)
        later = (stored.get(job[:5]) or _read(connection, job[:5])) if is_first else job
        moved = later._replace(restart=((later.start or 0) - later.submit) // MICROSECONDS)
        span = (moved.start, moved.end)
        if job.start == there[0] or moved.restart == job.restart or known.setdefault(moved[:5], span) != span:
            odd.add(index)
            continue
        stored[moved[:5]] = moved
        if is_first:
            connection.execute(delete(schema.batch_jobs).where(_is(job[:5])))
            known[job[:5]] = (job.start, job.end)
            stored[job[:5]] = job
    return list(stored.values()), odd


def _known(connection: Connection, jobs: list[Job]) -> dict[JobKey, Span]:
    """Return when the runs were that the store has of these jobs."""
    table = schema.batch_jobs
    known: dict[JobKey, Span] = {}
    columns = [table.c[name] for name in (*Job._fields[:5], "start", "end")]
    for part in rows.batches(jobs, rows.IN_ONE_QUERY):
        numbers = table.c.job.in_({job.job for job in part})
        for row in connection.execute(select(*columns).where(table.c.batch == PBS, numbers)):
            known[tuple(row[:5])] = (row[5], row[6])
    return known


def _read(connection: Connection, key: JobKey) -> Job:
    return Job(*connection.execute(select(schema.batch_jobs).where(_is(key))).one())


def _is(key: JobKey) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in zip(schema.batch_jobs.primary_key, key, strict=True)))
