"""Bring the ledger of this machine and the batch system's accounting into the store.

Rows and position are committed together and are unique, and only then is the ledger told what the store
holds: a collect that is killed anywhere, or run twice, gives the same store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, func, select

from gridwarden import chain, ledger, ledger_expiry
from gridwarden.accounting import (
    exit_records,
    job_rows,
    ledger_batches,
    partitions,
    positions,
    pyslurm_jobs,
    rows,
    sacct,
    sacct_rows,
    schema,
)
from gridwarden.accounting.batch_records import SLURM, ClassOf, Job, OddRow, Step, classed, no_class
from gridwarden.accounting.beside import beside
from gridwarden.accounting.job_runs import NOTHING_SEEN, Run, Seen
from gridwarden.accounting.ledger_batches import Batch, Known
from gridwarden.accounting.positions import Position
from gridwarden.errors import EvidenceError, GridwardenError
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.accounting.store import Store
    from gridwarden.settings import Settings

BATCH_ROWS = 2000
# What was collected less than this ago is read again: after an outage of slurmdbd, jobs arrive there late.
SECONDS_A_DAY = 86_400
OVERLAP = SECONDS_A_DAY * MICROSECONDS

Progress = Callable[[str, int], None]


class Collected(NamedTuple):
    """What came from one source: rows read, faults not known before, and how many are known in all.

    ``removed`` is how many files of the ledger went for their age, since the store holds them.
    """

    source: str
    rows: int
    fresh_faults: list[str]
    known_faults: int
    removed: int = 0


def collect(
    store: Store,
    settings: Settings,
    *,
    since: int | None,
    now: int,
    progress: Progress,
    dry_run: bool,
    ask_batch: bool = True,
) -> tuple[list[Collected], list[GridwardenError]]:
    """Collect every source of this machine; one that fails does not keep the others back.

    A machine without a ledger has only the batch system's records to give; without ``ask_batch`` it is not asked for them.
    """
    collected: list[Collected] = []
    failed: list[GridwardenError] = []
    directory = settings.ledger_directory
    try:
        if directory.exists():
            of_ledger = collect_ledger(store, directory, now=now, progress=progress, dry_run=dry_run)
            days = settings.retention.ledger_days
            if days is not None and not dry_run and not of_ledger.known_faults:
                removed = ledger_expiry.expire(directory, now / MICROSECONDS - days * SECONDS_A_DAY)
                of_ledger = of_ledger._replace(removed=removed)
            collected.append(of_ledger)
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        failed.append(EvidenceError(f"the ledger {directory} cannot be read: {what}", "run as root"))
    except GridwardenError as error:
        failed.append(error)
    try:
        if directory.exists() and (
            found := exit_records.take(store, directory, now=now, progress=progress, dry_run=dry_run)
        ):
            collected.append(Collected(*found))
    except OSError as error:
        failed.append(
            EvidenceError(f"exit records cannot be read: {(error.strerror or str(error)).lower()}", "run as root")
        )
    except GridwardenError as error:
        failed.append(error)
    if not ask_batch:
        return collected, failed
    try:
        programs = settings.slurm.programs
        lines = partial(pyslurm_jobs.run if pyslurm_jobs.is_chosen(programs) else sacct.run, programs)
        class_of = settings.accounting.class_of
        cluster = settings.slurm.cluster
        collected.append(
            collect_slurm(store, lines, cluster, since=since, now=now, progress=progress, class_of=class_of)
        )
    except GridwardenError as error:
        failed.append(error)
    return collected, failed


def collect_ledger(store: Store, directory: Path, *, now: int, progress: Progress, dry_run: bool = False) -> Collected:
    """Collect the lines of the ledger that the store has not, and acknowledge them.

    A line that does not verify is kept as a fault, and neither it nor anything after it is ever
    acknowledged, so that the ledger's files stay for whoever looks into it.  Raises Unavailable (store),
    ConfigurationError, OSError (ledger).
    """
    identifier = ledger.identifier(directory)
    source = f"ledger:{identifier}"
    fresh: list[str] = []
    taken = 0
    overtaken = True
    while overtaken:  # again, from where a faster collector has come to
        with store.transaction() as connection:
            known = _known(connection, identifier)
        position, overtaken = known.position, False
        with closing(beside(partial(ledger_batches.read, directory, identifier, known))) as reading:
            for batch in map(Batch._make, reading):
                found = _store(store, identifier, batch, None if dry_run else position, now)
                if found is None:
                    overtaken = True
                    break
                fresh += found
                position = Position(batch.at, batch.head)
                taken += len(batch.records)
                progress(source, taken)
    with store.transaction() as connection:
        position, faults = positions.position_of(connection, source), positions.count_faults(connection, source)
    if not dry_run and not faults and position.at > chain.acknowledged(directory):
        chain.acknowledge(directory, position.at)
    return Collected(source, taken, fresh, faults)


def collect_slurm(
    store: Store,
    lines: Callable[[int], Iterable[str]],
    cluster: str,
    *,
    since: int | None,
    now: int,
    progress: Progress,
    class_of: ClassOf = no_class,
) -> Collected:
    """Collect jobs and steps; ``lines`` yields sacct's output for what existed at or after an instant.

    Without ``since`` it goes on where the last one ended, going back to the oldest job that was then
    unfinished.  Raises Unavailable.
    """
    source = f"{SLURM}:{cluster}"
    with store.transaction() as connection:
        begin = _begin_of_jobs(connection, source, cluster, now) if since is None else since
    fresh: list[str] = []
    taken = 0
    for values in rows.batches(sacct_rows.parse(lines(begin)), BATCH_ROWS):
        with store.transaction() as connection:
            positions.claim(connection, source)
            jobs = [classed(each, class_of) for each in values if isinstance(each, Job)]
            job_rows.put(connection, jobs, [each for each in values if isinstance(each, Step)])
            odd = [(each.line, each.reason) for each in values if isinstance(each, OddRow)]
            fresh += positions.add_faults(connection, source, odd, now)
        taken += len(values)
        progress(source, taken)
    with store.transaction() as connection:
        last = _collected_until(connection, source, now)
        # An asked-for window that leaves a hole after the last collection must not hide the hole.
        if begin <= max(last, sacct.EARLIEST):
            positions.set_position(connection, source, Position(now, ""))
        known = positions.count_faults(connection, source)
    return Collected(source, taken, fresh, known)


def _store(store: Store, identifier: str, batch: Batch, expected: Position | None, now: int) -> list[str] | None:
    """Store a batch, and return the faults that are new; None where the store is not at the ``expected`` position."""
    source = f"ledger:{identifier}"
    partitions.make_room(store, batch.days, now)
    with store.transaction() as connection:
        if positions.claim(connection, source) != expected and expected is not None:
            return None
        rows.insert_new_tuples(connection, schema.records, ledger_batches.COLUMNS, batch.records)
        rows.upsert_tuples(connection, schema.job_runs, Run._fields, batch.runs)
        # A node's name in the batch system may not be the host's, which syslog names.
        nodes = {node.partition(".")[0] for node in (*batch.nodes, os.uname().nodename)} - {""}
        rows.insert_new(connection, schema.ledger_nodes, [{"ledger": identifier, "node": node} for node in nodes])
        positions.set_position(connection, source, Position(batch.at, batch.head))
        return positions.add_faults(connection, source, batch.faults, now)


def _known(connection: Connection, identifier: str) -> Known:
    position = positions.position_of(connection, f"ledger:{identifier}")
    return Known(position, *_last_record(connection, identifier, position), _open_runs(connection, identifier))


def _last_record(connection: Connection, identifier: str, position: Position) -> tuple[int, Seen]:
    """Return when the last record that is stored was, 0 for none, and what it saw, if it is an observation."""
    table = schema.records.c
    query = select(table.time, table.kind, table.account, table.lease)
    found = connection.execute(query.where(table.ledger == identifier, table.seq == position.at)).one_or_none()
    if found is None:
        return 0, NOTHING_SEEN
    time, kind, account, lease = found
    return time, Seen(time, account or "", lease or "") if kind == "observation" else NOTHING_SEEN


def _begin_of_jobs(connection: Connection, source: str, cluster: str, now: int) -> int:
    position = _collected_until(connection, source, now)
    if not position:
        return sacct.EARLIEST
    jobs = schema.batch_jobs.c
    unfinished = connection.scalar(
        select(func.min(jobs.submit)).where(jobs.end.is_(None), jobs.batch == SLURM, jobs.cluster == cluster)
    )
    return min(position - OVERLAP, unfinished or position)


def _collected_until(connection: Connection, source: str, now: int) -> int:
    """Return how far jobs were collected: from the beginning again where a clock that was ahead says later than now."""
    position = positions.position_of(connection, source).at
    return position if position <= now else 0


def _open_runs(connection: Connection, identifier: str) -> list[Run]:
    runs = schema.job_runs
    found = connection.execute(select(runs).where(runs.c.ledger == identifier, runs.c.end.is_(None)))
    return [Run(*row) for row in found]
