"""The months that PostgreSQL keeps the table ``records`` in, one partition each; SQLite has one table.

What has no month here (a node's clock may say anything) is in ``records_other``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from gridwarden.accounting.store import Store

_LOCK = 0x67726965
_FIRST_YEAR = 2015
_NAME = "records_{:04}_{:02}"

Month = tuple[int, int]


def make_room(store: Store, times: Iterable[int], now: int) -> None:
    """Make the partitions for records of these times, up to this month; on SQLite there is nothing to do.

    Before, and apart from, the transaction that brings the records: to attach a partition takes a lock that two
    collectors who had read already would keep from each other.  Raises Unavailable.
    """
    if not store.partitioned:
        return
    with store.transaction() as connection:
        months = {month_of(time) for time in times} - set(existing(connection))
        for month in sorted(month for month in months if (_FIRST_YEAR, 1) <= month <= month_of(now)):
            _make(connection, month)


def drop_whole_months(connection: Connection) -> None:
    """Drop the partitions of which every line has gone for its age, up to its ledger's anchor."""
    for month in existing(connection):
        name = name_of(month)
        kept = (
            f"SELECT 1 FROM {name} r LEFT JOIN anchors a ON a.ledger = r.ledger "  # noqa: S608  our own names
            "WHERE a.seq IS NULL OR r.seq > a.seq LIMIT 1"
        )
        if connection.scalar(text(kept)) is None:
            connection.execute(text(f"DROP TABLE {name}"))


def existing(connection: Connection) -> list[Month]:
    """Return the months that have a partition, the earliest first."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'records'::regclass"
    names = (str(name).split("_") for name in connection.scalars(text(query)))
    return sorted((int(words[1]), int(words[2])) for words in names if len(words) == 3)


def name_of(month: Month) -> str:
    """Return the name of a month's partition."""
    return _NAME.format(*month)


def month_of(time: int) -> Month:
    """Return the month of an instant (UTC), (0, 0) for one that is beyond the calendar."""
    try:
        moment = datetime.fromtimestamp(time // MICROSECONDS, UTC)
    except (ValueError, OverflowError, OSError):
        return (0, 0)
    return (moment.year, moment.month)


def _make(connection: Connection, month: Month) -> None:
    """Make one partition, and bring to it what was put elsewhere before: attaching locks nobody out who reads."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    if month in existing(connection):
        return
    begin, end = _start(month), _start((month[0] + month[1] // 12, month[1] % 12 + 1))
    within = f"time >= {begin} AND time < {end}"
    name = name_of(month)
    for statement in (
        f"CREATE TABLE {name} (LIKE records INCLUDING ALL)",
        f"WITH moved AS (DELETE FROM records_other WHERE {within} RETURNING *) INSERT INTO {name} SELECT * FROM moved",  # noqa: S608  our own names and integers
        f"ALTER TABLE records ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({end})",
    ):
        connection.execute(text(statement))


def _start(month: Month) -> int:
    return int(datetime(*month, 1, tzinfo=UTC).timestamp()) * MICROSECONDS
