"""How far each source has been collected, and what of it cannot be used.

A collector claims its source first in every transaction that writes: a second one then waits for the first
instead of colliding with it, and goes on from where that one came to.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from gridwarden.accounting import rows, schema


class Position(NamedTuple):
    """How far a source has been collected: a sequence number, an instant or a place, and the last line's hash."""

    at: int
    head: str


NOWHERE = Position(0, "")
FILE = "file:"
# No source: what stands there says of which key the store's pseudonyms are.
PSEUDONYMS = "pseudonyms"


def position_of(connection: Connection, source: str) -> Position:
    """Return how far a source has been collected."""
    columns = schema.positions.c
    found = connection.execute(select(columns.position, columns.head).where(columns.source == source)).one_or_none()
    return Position(*found) if found else NOWHERE


def claim(connection: Connection, source: str) -> Position:
    """Return the same, and keep other collectors from the source until the transaction ends."""
    row = {"source": source, "position": NOWHERE.at, "head": NOWHERE.head}
    rows.insert_new(connection, schema.positions, [row])
    columns = schema.positions.c
    # SQLite has one writer at a time, and leaves FOR UPDATE away.
    query = select(columns.position, columns.head).where(columns.source == source).with_for_update()
    return Position(*connection.execute(query).one())


def set_position(connection: Connection, source: str, position: Position) -> None:
    """Say how far a source has been collected, in the transaction that brought its rows."""
    row = {"source": source, "position": position.at, "head": position.head}
    rows.upsert(connection, schema.positions, [row])


def add_faults(connection: Connection, source: str, found: list[tuple[str, str]], now: int) -> list[str]:
    """Keep faults, each a place and a sentence; return those that are new, as one sentence each."""
    fresh = []
    for place, fault in found:
        row = rows.storable(schema.faults, {"source": source, "place": place, "fault": fault, "seen": now})
        # The line itself may stand in a fault, and no index of PostgreSQL takes one as long as that.
        digest = sha256(f"{source}\n{row['place']}\n{row['fault']}".encode()).hexdigest()
        if not connection.scalar(select(func.count()).where(schema.faults.c.digest == digest)):
            rows.insert_new(connection, schema.faults, [{"digest": digest, **row}])
            fresh.append(f"{place}: {fault}")
    return fresh


def count_faults(connection: Connection, source: str) -> int:
    """Return how many faults of a source are kept."""
    return connection.scalar(select(func.count()).where(schema.faults.c.source == source)) or 0
