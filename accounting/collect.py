"""Bring the ledger of this machine and the batch system's accounting into the store.

Rows and position are committed together and are unique, and only then is the ledger told what the store
holds: a collect that is killed anywhere, or run twice, gives the same store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects.sqlite import insert

from gridwarden import chain, ledger
from gridwarden.accounting import sacct, sacct_rows, schema
from gridwarden.accounting.batch_records import SLURM, Job, OddRow, Step
from gridwarden.accounting.job_runs import OpenRuns, Run
from gridwarden.accounting.ledger_lines import NOWHERE, Position, lines_after
from gridwarden.errors import EvidenceError, GridwardenError
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.accounting.store import Store
    from gridwarden.chain import Line
    from gridwarden.settings import Settings

BATCH_ROWS = 2000
# What was collected less than this ago is read again: after an outage of slurmdbd, jobs arrive there late.
OVERLAP = 86_400 * MICROSECONDS

Progress = Callable[[str, int], None]
Item = TypeVar("Item")


class Collected(NamedTuple):
    """What came from one source: rows read, faults not known before, and how many are known in all."""

    source: str
    rows: int
    fresh_faults: list[str]
    known_faults: int


def collect(
    store: Store, settings: Settings, *, since: int | None, now: int, progress: Progress, dry_run: bool
) -> tuple[list[Collected], list[GridwardenError]]:
    """Collect every source of this machine; one that fails does not keep the others back.

    A machine without a ledger has only the batch system's records to give.
    """
    collected: list[Collected] = []
    failed: list[GridwardenError] = []
    directory = settings.ledger_directory
    try:
        if directory.exists():
            collected.append(collect_ledger(store, directory, now=now, progress=progress, dry_run=dry_run))
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        failed.append(EvidenceError(f"the ledger {directory} cannot be read: {what}", "run as root"))
    except GridwardenError as error:
        failed.append(error)
    try:
        lines = partial(sacct.run, settings.slurm.programs)
        collected.append(collect_slurm(store, lines, settings.slurm.cluster, since=since, now=now, progress=progress))
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
    with store.transaction() as connection:
        position = _position(connection, source)
    fresh: list[str] = []
    rows = 0
    for lines in _batches(lines_after(directory, position), BATCH_ROWS):
        with store.transaction() as connection:
            rows += _store_lines(connection, identifier, lines)
            fresh += _store_faults(connection, source, lines, now)
        progress(source, rows)
    with store.transaction() as connection:
        position, known = _position(connection, source), _count_faults(connection, source)
    if not dry_run and not known and position.at > chain.acknowledged(directory):
        chain.acknowledge(directory, position.at)
    return Collected(source, rows, fresh, known)


def collect_slurm(
    store: Store,
    lines: Callable[[int], Iterable[str]],
    cluster: str,
    *,
    since: int | None,
    now: int,
    progress: Progress,
) -> Collected:
    """Collect jobs and steps; ``lines`` yields sacct's output for what existed at or after an instant.

    Without ``since`` it goes on where the last one ended, going back to the oldest job that was then
    unfinished.  Raises Unavailable.
    """
    source = f"{SLURM}:{cluster}"
    with store.transaction() as connection:
        begin = _begin_of_jobs(connection, source, cluster, now) if since is None else since
    fresh: list[str] = []
    rows = 0
    for values in _batches(sacct_rows.parse(lines(begin)), BATCH_ROWS):
        with store.transaction() as connection:
            _upsert(connection, schema.batch_jobs, [each._asdict() for each in values if isinstance(each, Job)])
            _upsert(connection, schema.batch_steps, [each._asdict() for each in values if isinstance(each, Step)])
            odd = [(each.line, each.reason) for each in values if isinstance(each, OddRow)]
            fresh += _add_faults(connection, source, odd, now)
        rows += len(values)
        progress(source, rows)
    with store.transaction() as connection:
        last = _collected_until(connection, source, now)
        # An asked-for window that leaves a hole after the last collection must not hide the hole.
        if begin <= max(last, sacct.EARLIEST):
            _set_position(connection, source, Position(now, ""))
        known = _count_faults(connection, source)
    return Collected(source, rows, fresh, known)


def _store_lines(connection: Connection, identifier: str, lines: list[Line]) -> int:
    source = f"ledger:{identifier}"
    position = _position(connection, source)  # again: another collector may have been here meanwhile
    new = [line for line in lines if line.seq > position.at]
    if not new:
        return 0
    runs = OpenRuns(identifier, _open_runs(connection, identifier))
    for line in new:
        runs.add(line.seq, line.body)
    _insert(connection, schema.records, [_row(identifier, line) for line in new])
    _upsert(connection, schema.job_runs, [run._asdict() for run in runs.changed.values()])
    _set_position(connection, source, Position(new[-1].seq, new[-1].hash))
    return len(new)


def _row(identifier: str, line: Line) -> dict[str, Any]:
    columns = ("kind", "time", "node", "cluster", "account", "lease", "pid")
    row: dict[str, Any] = {column: line.body.get(column) for column in columns}
    body = json.dumps(line.body, separators=(",", ":"))
    return {"ledger": identifier, "seq": line.seq, "hash": line.hash, "body": body, **row}


def _store_faults(connection: Connection, source: str, lines: list[Line], now: int) -> list[str]:
    return _add_faults(connection, source, [(line.where, line.fault) for line in lines if line.fault], now)


def _add_faults(connection: Connection, source: str, found: list[tuple[str, str]], now: int) -> list[str]:
    """Keep faults; return those that are new, one sentence each."""
    fresh = []
    for place, fault in found:
        row = {"source": source, "place": place, "fault": fault, "seen": now}
        if connection.execute(insert(schema.faults).on_conflict_do_nothing(), [_storable(row)]).rowcount:
            fresh.append(f"{place}: {fault}")
    return fresh


def _count_faults(connection: Connection, source: str) -> int:
    faults = schema.faults.c.source
    return connection.scalar(select(func.count()).where(faults == source)) or 0


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with bytes that are not UTF-8 written as escapes, since a database takes none."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
        for name, value in row.items()
    }


def _begin_of_jobs(connection: Connection, source: str, cluster: str, now: int) -> int:
    position = _collected_until(connection, source, now)
    if not position:
        return sacct.EARLIEST
    jobs = schema.batch_jobs.c
    unfinished = connection.scalar(select(func.min(jobs.submit)).where(jobs.end.is_(None), jobs.cluster == cluster))
    return min(position - OVERLAP, unfinished or position)


def _collected_until(connection: Connection, source: str, now: int) -> int:
    """Return how far jobs were collected: from the beginning again where a clock that was ahead says later than now."""
    position = _position(connection, source).at
    return position if position <= now else 0


def _open_runs(connection: Connection, identifier: str) -> list[Run]:
    runs = schema.job_runs
    found = connection.execute(select(runs).where(runs.c.ledger == identifier, runs.c.end.is_(None)))
    return [Run(*row) for row in found]


def _position(connection: Connection, source: str) -> Position:
    columns = schema.positions.c
    found = connection.execute(select(columns.position, columns.head).where(columns.source == source)).one_or_none()
    return Position(*found) if found else NOWHERE


def _set_position(connection: Connection, source: str, position: Position) -> None:
    row = {"source": source, "position": position.at, "head": position.head}
    _upsert(connection, schema.positions, [row])


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table).on_conflict_do_nothing(), [_storable(row) for row in rows])


def _upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, and bring those that are there up to date."""
    if rows:
        rows = [_storable(row) for row in rows]
        statement = insert(table)
        keys = [column.name for column in table.primary_key]
        rest = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), rows)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
