"""Put jobs and their steps into the store, whichever source they come from, and in whatever order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.accounting import rows, schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from gridwarden.accounting.batch_records import Job, Step

# Of two records of one run the one stays that has an end, names a user (sacct --json of Slurm 22.05 need not), and says more
# CPU time: a copy of the accounting that was made while the job ran says less, whenever it is imported.
_RANK_OF_JOB = ('{}."end" IS NOT NULL', "{}.account <> ''", "{}.total_cpu")
_RANK_OF_STEP = ('{}."end" IS NOT NULL', "{}.total_cpu")


def put(connection: Connection, jobs: Sequence[Job], steps: Sequence[Step]) -> None:
    """Insert them, and bring those that are there up to date, but never by a record that says less."""
    rows.upsert(connection, schema.batch_jobs, [job._asdict() for job in jobs], rank=_RANK_OF_JOB)
    rows.upsert(connection, schema.batch_steps, [step._asdict() for step in steps], rank=_RANK_OF_STEP)
