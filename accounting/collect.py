"""Bring the ledger of this machine and the batch system's accounting into the store.

Rows and position are committed together and are unique, and only then is the ledger told what the store
holds: a collect that is killed anywhere, or run twice, gives the same store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, func, select

from gridwarden import chain, ledger, ledger_expiry
from gridwarden.accounting import exit_records, partitions, positions, rows, sacct, sacct_rows, schema
from gridwarden.accounting.batch_records import SLURM, ClassOf, Job, OddRow, Step, classed, no_class
from gridwarden.accounting.job_runs import NOTHING_SEEN, OpenRuns, Run, Seen, number, text
from gridwarden.accounting.ledger_lines import lines_after
from gridwarden.accounting.positions import Position
from gridwarden.errors import EvidenceError, GridwardenError
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.accounting.store import Store
    from gridwarden.chain import Line
    from gridwarden.settings import Settings

BATCH_ROWS = 2000
BATCH_LINES = 10_000  # each commit changes the same pages of the indexes again
# What was collected less than this ago is read again: after an outage of slurmdbd, jobs arrive there late.
SECONDS_A_DAY = 86_400
OVERLAP = SECONDS_A_DAY * MICROSECONDS

_OF_BODY = ("kind", "node", "cluster", "account", "lease")
_COLUMNS = ("ledger", "seq", "hash", "digest", "time", "pid", "body", *_OF_BODY)
# JSON without a backslash holds neither NUL nor half a pair of surrogates; values of this length fit their columns.
_LONGEST_PLAIN = 128

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
    try:
        lines = partial(sacct.run, settings.slurm.programs)
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
    with store.transaction() as connection:
        position = positions.position_of(connection, source)
    fresh: list[str] = []
    taken = 0
    for lines in rows.batches(lines_after(directory, position), BATCH_LINES):
        partitions.make_room(store, (number(line.body, "time") for line in lines), now)
        with store.transaction() as connection:
            taken += _store_lines(connection, identifier, lines)
            faulty = [(line.where, line.fault) for line in lines if line.fault]
            fresh += positions.add_faults(connection, source, faulty, now)
        progress(source, taken)
    with store.transaction() as connection:
        position, known = positions.position_of(connection, source), positions.count_faults(connection, source)
    if not dry_run and not known and position.at > chain.acknowledged(directory):
        chain.acknowledge(directory, position.at)
    return Collected(source, taken, fresh, known)


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
            jobs = [classed(each, class_of)._asdict() for each in values if isinstance(each, Job)]
            rows.upsert(connection, schema.batch_jobs, jobs)
            rows.upsert(connection, schema.batch_steps, [each._asdict() for each in values if isinstance(each, Step)])
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


def _store_lines(connection: Connection, identifier: str, lines: list[Line]) -> int:
    source = f"ledger:{identifier}"
    position = positions.claim(connection, source)  # again: another collector may have been here meanwhile
    new = [line for line in lines if line.seq > position.at]
    if not new:
        return 0
    before, seen = _last_record(connection, identifier, position)
    runs = OpenRuns(identifier, _open_runs(connection, identifier), seen)
    for line in new:
        runs.add(line.seq, line.body)
    values = list(_rows(identifier, new, before))
    rows.insert_new_tuples(connection, schema.records, _COLUMNS, values)
    rows.upsert(connection, schema.job_runs, [run._asdict() for run in runs.changed.values()])
    # A node's name in the batch system may not be the host's, which syslog names.
    nodes = {text(line.body, "node") for line in new} | {os.uname().nodename}
    names = sorted({node.partition(".")[0] for node in nodes if node})
    rows.insert_new(connection, schema.ledger_nodes, [{"ledger": identifier, "node": name} for name in names])
    positions.set_position(connection, source, Position(new[-1].seq, new[-1].hash))
    return len(new)


def _rows(identifier: str, lines: list[Line], time: int) -> Iterator[rows.Values]:
    """Yield the rows of lines, of which the one before them is of ``time``."""
    for line in lines:
        body = line.body
        time = number(body, "time") or time
        pid = number(body, "pid") or None if "pid" in body else None
        found = [body.get(column) or None for column in _OF_BODY]
        if "\\" in line.text or not all(_is_plain(value) for value in found):
            kept = rows.storable(schema.records, {column: text(body, column) or None for column in _OF_BODY})
            found = [kept[column] for column in _OF_BODY]
        yield (identifier, line.seq, line.hash, line.digest, time, pid, line.text or None, *found)


def _is_plain(value: object) -> bool:
    """Say whether a value of a line is stored as it stands."""
    return value is None or (type(value) is str and len(value) <= _LONGEST_PLAIN)


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
