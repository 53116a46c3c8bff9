"""Tell the runs of PBS's jobs apart that have the same ``run_count``, which an operator can set back.

They do so to let a job go that was held for too many runs; the runs after that are counted from one again.  The earliest
keeps the count; the others' restart is the seconds from submission to start, as Torque's is, whichever is imported first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, select

from gridwarden.accounting import rows, schema
from gridwarden.accounting.batch_records import PBS, Job
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from gridwarden.accounting.payload_runs import JobKey

Span = tuple[int | None, int | None]


def tell_apart(connection: Connection, jobs: list[Job]) -> tuple[list[Job], set[int]]:
    """Return the rows to be stored, and the indices of the jobs that cannot be told from another run.

    A run that the store has under a count that is an earlier one's is returned once more, under its new restart.
    """
    known = _known(connection, jobs)
    stored: list[Job] = []
    odd: set[int] = set()
    for index, job in enumerate(jobs):
        there = known.setdefault(job[:5], (job.start, job.end))
        if there == (job.start, job.end):
            stored.append(job)
            continue
        is_first = (job.start or 0) < (there[0] or 0)
        later = _read(connection, job[:5], stored) if is_first else job
        moved = later._replace(restart=((later.start or 0) - later.submit) // MICROSECONDS)
        span = (moved.start, moved.end)
        if job.start == there[0] or moved.restart == job.restart or known.setdefault(moved[:5], span) != span:
            odd.add(index)
            continue
        stored.append(moved)
        if is_first:
            known[job[:5]] = (job.start, job.end)
            stored.append(job)
    return stored, odd


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


def _read(connection: Connection, key: JobKey, stored: list[Job]) -> Job:
    """Return the run that has a key: what is about to be stored is newer than what is."""
    for job in reversed(stored):
        if job[:5] == key:
            return job
    table = schema.batch_jobs
    same = and_(*(column == value for column, value in zip(table.primary_key, key, strict=True)))
    return Job(*connection.execute(select(table).where(same)).one())
