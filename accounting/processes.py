"""Put processes that have ended into the store, many at once, each once."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from gridwarden.accounting import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

IN_ONE_STATEMENT = 64  # rows: SQLite spends as much on beginning a statement as on a row
OF_PACCT = ("node", "pid", "start", "end", "parent", "uid", "gid", "command", "user_cpu", "system_cpu", "status")
OF_EXITS = (
    *OF_PACCT, "exact", "cpu", "threads", "boot", "account", "batch", "cluster", "job", "known_by",
)  # fmt: skip


def put(connection: Connection, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert the rows that are not there yet, and return how many that were.

    ``rows`` hold values of ``columns``, which are ours and not quoted; texts must be as ``rows.storable`` makes them.
    The insert is written out, since SQLAlchemy's own takes longer for a row than SQLite does.
    """
    if connection.dialect.name == "sqlite":
        return _put_sqlite(connection, columns, rows)
    types = ", ".join(f"%s::{_type(name)}[]" for name in columns)
    statement = f"{_insert(columns)} SELECT * FROM unnest({types}) ON CONFLICT DO NOTHING"  # noqa: S608  our own names
    # Both begin with their key: two who bring the same ones wait for each other, and not each for the other.
    values = tuple(list(column) for column in zip(*sorted(rows), strict=True))
    return connection.exec_driver_sql(statement, values).rowcount if rows else 0


def _put_sqlite(connection: Connection, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    one = f"({', '.join('?' * len(columns))})"
    insert = _insert(columns).replace("INSERT", "INSERT OR IGNORE", 1)
    whole = len(rows) // IN_ONE_STATEMENT * IN_ONE_STATEMENT
    put = 0
    if whole:
        values = chain.from_iterable(rows[:whole] if whole < len(rows) else rows)
        many = list(zip(*[values] * (IN_ONE_STATEMENT * len(columns)), strict=True))
        put += connection.exec_driver_sql(f"{insert} VALUES {', '.join([one] * IN_ONE_STATEMENT)}", many).rowcount
    if rest := list(rows[whole:]):
        put += connection.exec_driver_sql(f"{insert} VALUES {one}", rest).rowcount
    return put


def _insert(columns: Sequence[str]) -> str:
    return f"INSERT INTO processes ({', '.join(columns)})".replace(" end,", ' "end",')


def _type(name: str) -> str:
    return "bigint" if str(schema.processes.c[name].type) == "BIGINT" else "text"
