"""How far a file has been imported, and what became of its entries."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, select

from gridwarden.accounting import positions, rows, schema
from gridwarden.accounting.log_files import WITNESS, Log
from gridwarden.accounting.positions import Position

if TYPE_CHECKING:
    from gridwarden.accounting.store import Store


class Counts(NamedTuple):
    """What became of the entries of a file: ``entries`` is the sum of the others."""

    entries: int = 0
    records: int = 0
    quarantined: int = 0
    ignored: int = 0


class Beginning(NamedTuple):
    """What the store has of a file (``stored``), and where to go on: ``offset``, the bytes before it, the counts there."""

    stored: Position
    offset: int
    witness: bytes
    counts: Counts


def read_to_the_end(store: Store) -> frozenset[tuple[str, int, int]]:
    """Return path, size and time of change of every file that was read to its end, so that it need not be opened."""
    table = schema.imported_files.c
    query = select(table.path, table.size, table.modified).where(table.modified > 0)
    with store.transaction() as connection:
        return frozenset((path, size, modified) for path, size, modified in connection.execute(query))


def begin(store: Store, source: str, log: Log) -> Beginning:
    """Say where to go on; a file that is not what it was is read from its beginning."""
    table = schema.imported_files.c
    columns = [table[name] for name in Counts._fields]
    with store.transaction() as connection:
        stored = positions.position_of(connection, source)
        counts = connection.execute(select(*columns).where(table.source == source)).one_or_none()
    witness = log.before(stored.at) if stored.at else None
    if counts is None or witness is None or sha256(witness).hexdigest() != stored.head:
        return Beginning(stored, 0, b"", Counts())
    return Beginning(stored, stored.at, witness, Counts(*counts))


def reached(end: int, tail: bytes) -> Position:
    """Return the position after an entry; ``tail`` ends with it."""
    return Position(end, sha256(tail[-min(end, WITNESS) :]).hexdigest()) if end else Position(0, "")


def remember(
    connection: Connection, log: Log, source: str, kind: str, counts: Counts, *, now: int, whole: bool
) -> None:
    """Keep what became of a file's entries; one that is not ``whole`` is looked at again even if it does not change."""
    status = {"path": log.name, "size": log.size, "modified": log.modified if whole else 0, "seen": now}
    rows.upsert(connection, schema.imported_files, [{"source": source, "kind": kind, **status, **counts._asdict()}])
