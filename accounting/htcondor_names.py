"""Which of HTCondor's jobs and runs the store does not take: those that bear the name of another that it has.

A job's owner can change its GlobalJobId and QDate (condor_qedit), by HTCondor's own defaults, and so have an ad name a job of
another schedd that has the same number.  Its ad would then replace that job's, or its runs be added to it.  A job leaves
the queue once, and a run ends once: what the store has first stays, and another ad under the name is put aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table, select

from gridwarden.accounting import rows, schema
from gridwarden.accounting.batch_records import HTCONDOR, Job, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.accounting.claims import Claim

    Key = tuple[object, ...]
    Facts = tuple[str | int | None, ...]  # the account first

OWNERS_NAME = "a job's owner can change its GlobalJobId (condor_qedit), unless IMMUTABLE_JOB_ATTRS names it"
JOB_KEY, RUN_KEY = 5, 6
# In what all ads of a job, or a run, agree, from whichever source.  When a run's was written stands in two places.
_OF_JOB, _OF_RUN = ("account", "start", "end", "total_cpu"), ("account", "start", "total_cpu")


def refused(connection: Connection, found: Sequence[Job | Step | Claim]) -> dict[int, str]:
    """Return which of HTCondor's rows, by index, bear a name that is another's in the store, and why."""
    runs = [row for row in found if isinstance(row, Step)]
    jobs_there = _known(connection, schema.batch_jobs, [row for row in found if isinstance(row, Job | Step)], JOB_KEY)
    runs_there = _known(connection, schema.batch_steps, runs, RUN_KEY)
    refused: dict[int, str] = {}
    for index, row in enumerate(found):
        if isinstance(row, Job):
            there = jobs_there.setdefault(_key(row, JOB_KEY), _facts(row))
            if there != _facts(row):
                refused[index] = f"the store has another record of that job, of account {there[0]}: {OWNERS_NAME}"
    for index, row in enumerate(found):
        if isinstance(row, Step):
            account, *figures = _facts(row)
            job = jobs_there.get(_key(row, JOB_KEY))
            if job is not None and job[0] != account:
                refused[index] = f"the store has that job, of account {job[0]}: {OWNERS_NAME}"
                continue
            there = runs_there.setdefault(_key(row, RUN_KEY), _facts(row))
            if list(there[1:]) != figures or there[0] not in {"", account}:  # of before, a run's account is not known
                refused[index] = f"the store has another record of that run, of account {there[0]}: {OWNERS_NAME}"
    return refused


def _key(row: Job | Step, length: int) -> Key:
    """Return the key that a row has in the store."""
    return tuple(rows.fitting(value, schema.Name.length) if isinstance(value, str) else value for value in row[:length])


def _facts(row: Job | Step) -> Facts:
    account, *figures = (getattr(row, name) for name in (_OF_JOB if isinstance(row, Job) else _OF_RUN))
    return rows.fitting(account, schema.Name.length), *figures


def _known(connection: Connection, table: Table, found: Sequence[Job | Step], length: int) -> dict[Key, Facts]:
    """Return what the store has under the keys of these rows, and perhaps more."""
    facts = _OF_JOB if table is schema.batch_jobs else _OF_RUN
    columns = [*list(table.primary_key)[:length], *(table.c[name] for name in facts)]
    known: dict[Key, Facts] = {}
    for part in rows.batches(found, rows.IN_ONE_QUERY):
        same = [table.c[name].in_({_key(row, 3)[at] for row in part}) for at, name in ((1, "cluster"), (2, "job"))]
        for row in connection.execute(select(*columns).where(table.c.batch == HTCONDOR, *same)):
            known[tuple(row[:length])] = tuple(row[length:])
    return known
