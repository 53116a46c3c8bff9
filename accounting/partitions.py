"""The months that PostgreSQL keeps ``records`` and ``processes`` in, one partition each; SQLite has one table.

What has no month here (a node's clock may say anything) is in ``records_other`` and ``processes_other``.
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
_DAY = 86_400 * MICROSECONDS
RECORDS, PROCESSES = "records", "processes"
_TIME_OF = {RECORDS: "time", PROCESSES: '"end"'}

Month = tuple[int, int]


def make_room(store: Store, times: Iterable[int], now: int, table: str = RECORDS) -> None:
    """Make the partitions for rows of these times, up to this month; on SQLite there is nothing to do.

    Before, and apart from, the transaction that brings the rows: to attach a partition takes a lock that two
    collectors who had read already would keep from each other.  Raises Unavailable.
    """
    if not store.partitioned:
        return
    with store.transaction() as connection:
        days = {time // _DAY * _DAY for time in times}
        months = {month_of(day) for day in days} - set(existing(connection, table))
        for month in sorted(month for month in months if (_FIRST_YEAR, 1) <= month <= month_of(now)):
            _make(connection, table, month)


def drop_whole_months(connection: Connection) -> None:
    """Drop the partitions of records of which every line has gone for its age, up to its ledger's anchor."""
    for month in existing(connection):
        name = _name_of(RECORDS, month)
        kept = (
            f"SELECT 1 FROM {name} r LEFT JOIN anchors a ON a.ledger = r.ledger "  # noqa: S608  our own names
            "WHERE a.seq IS NULL OR r.seq > a.seq LIMIT 1"
        )
        if connection.scalar(text(kept)) is None:
            # Whoever was bringing lines of a month that began just now has committed them once we have the lock.
            connection.execute(text(f"LOCK TABLE ONLY {RECORDS}, {name} IN ACCESS EXCLUSIVE MODE"))
            if connection.scalar(text(kept)) is None:
                connection.execute(text(f"DROP TABLE {name}"))


def drop_months_before(connection: Connection, table: str, cutoff: int) -> None:
    """Drop the partitions of a table that end before the cutoff."""
    for month in existing(connection, table):
        if _start(_next(month)) <= cutoff:
            connection.execute(text(f"DROP TABLE {_name_of(table, month)}"))


def existing(connection: Connection, table: str = RECORDS) -> list[Month]:
    """Return the months that have a partition, the earliest first."""
    query = f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{table}'::regclass"  # noqa: S608  ours
    names = (str(name).split("_") for name in connection.scalars(text(query)))
    return sorted((int(words[1]), int(words[2])) for words in names if len(words) == 3)


def month_of(time: int) -> Month:
    """Return the month of an instant (UTC), (0, 0) for one that is beyond the calendar."""
    try:
        moment = datetime.fromtimestamp(time // MICROSECONDS, UTC)
    except (ValueError, OverflowError, OSError):
        return (0, 0)
    return (moment.year, moment.month)


def _make(connection: Connection, table: str, month: Month) -> None:
    """Make one partition, and bring to it what was put elsewhere before: attaching locks nobody out who reads."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    if month in existing(connection, table):
        return
    begin, end, time = _start(month), _start(_next(month)), _TIME_OF[table]
    name, within = _name_of(table, month), f"{time} >= {begin} AND {time} < {end}"
    moved = f"WITH moved AS (DELETE FROM {table}_other WHERE {within} RETURNING *)"  # noqa: S608  our own names and integers
    for statement in (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
        f"{moved} INSERT INTO {name} SELECT * FROM moved",  # noqa: S608  the same
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({end})",
    ):
        connection.execute(text(statement))


def _name_of(table: str, month: Month) -> str:
    return f"{table}_{month[0]:04}_{month[1]:02}"


def _next(month: Month) -> Month:
    return (month[0] + month[1] // 12, month[1] % 12 + 1)


def _start(month: Month) -> int:
    return int(datetime(*month, 1, tzinfo=UTC).timestamp()) * MICROSECONDS
