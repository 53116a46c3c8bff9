"""Put rows into tables of the store, in the words that SQLite and PostgreSQL share."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Insert, Table

IN_ONE_QUERY = 400  # SQLite takes a limited number of values in one statement

Row = dict[str, Any]
Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows whose keys are not there yet; leave the others as they are."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), [storable(table, row) for row in rows])


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, and bring those that are there up to date."""
    if rows:
        statement = _insert(connection, table)
        keys = [column.name for column in table.primary_key]
        rest = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=rest)
        connection.execute(statement, [storable(table, row) for row in rows])


def storable(table: Table, row: Row) -> Row:
    """Return a row as every database takes it.

    Bytes that are not UTF-8, and NUL, are written as escapes; what is longer than its column is cut: only what nobody
    but an attacker writes is that long, and PostgreSQL would refuse all of the rows with it.
    """
    lengths = _lengths(table)
    return {name: _fitting(value, lengths[name]) if isinstance(value, str) else value for name, value in row.items()}


def _fitting(text: str, length: int | None) -> str:
    if not text.isascii() or "\0" in text:
        text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    return text[:length]


@cache
def _lengths(table: Table) -> dict[str, int | None]:
    return {column.name: getattr(column.type, "length", None) for column in table.c}


def _insert(connection: Connection, table: Table) -> Any:  # noqa: ANN401  one of two classes with the same methods
    statement: Insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    return statement
