"""Put rows into tables of the store, in the words that SQLite and PostgreSQL share."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Table

IN_ONE_QUERY = 400  # SQLite takes a limited number of values in one statement

Row = dict[str, Any]
Values = tuple[Any, ...]
Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def bounded_batches(
    items: Iterable[Item], size: int, most: int, bytes_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield the items in lists of at most ``size``, each of which ends when its items come to ``most`` bytes."""
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += bytes_of(item)
        if len(batch) >= size or held >= most:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows whose keys are not there yet; leave the others as they are."""
    if rows:
        insert_new_tuples(connection, table, tuple(rows[0]), [tuple(storable(table, row).values()) for row in rows])


def insert_new_tuples(connection: Connection, table: Table, columns: tuple[str, ...], rows: list[Values]) -> None:
    """Do the same with rows that are storable already."""
    if rows:
        statement = f"{_insert(connection, table, columns)} ON CONFLICT DO NOTHING"
        connection.exec_driver_sql(statement, _by_key(connection, table, columns, rows))


def upsert(connection: Connection, table: Table, rows: Sequence[Row], *, rank: tuple[str, ...] = ()) -> None:
    """Insert rows, and bring those that are there up to date; all have the same columns, in the same order.

    ``rank`` are expressions of SQL, of a row whose name stands for ``{}``: what ranks below what is there leaves that as it is.
    """
    if rows:
        values = [tuple(storable(table, row).values()) for row in rows]
        upsert_tuples(connection, table, tuple(rows[0]), values, rank=rank)


def upsert_tuples(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: list[Values], *, rank: tuple[str, ...] = ()
) -> None:
    """Do the same with rows that are storable already."""
    if rows:
        quote = connection.dialect.identifier_preparer.quote
        keys = [column.name for column in table.primary_key]
        new = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in columns if name not in keys)
        conflict = f"ON CONFLICT ({', '.join(map(quote, keys))}) DO UPDATE SET {new}"
        if rank:
            given, there = (", ".join(each.format(name) for each in rank) for name in ("excluded", table.name))
            conflict += f" WHERE ({given}) >= ({there})"
        statement = f"{_insert(connection, table, columns)} {conflict}"
        connection.exec_driver_sql(statement, _by_key(connection, table, columns, rows))


def storable(table: Table, row: Row) -> Row:
    """Return a row as every database takes it.

    Bytes that are not UTF-8, and NUL, are written as escapes; what is longer than its column is cut: only what nobody
    but an attacker writes is that long, and PostgreSQL would refuse all of the rows with it.
    """
    lengths = _lengths(table)
    return {name: fitting(value, lengths[name]) if isinstance(value, str) else value for name, value in row.items()}


def fitting(text: str, length: int | None) -> str:
    """Return a text as a column of ``length`` characters takes it; None: of any length."""
    if not text.isascii() or "\0" in text:
        text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    return text[:length]


@cache
def _lengths(table: Table) -> dict[str, int | None]:
    return {column.name: getattr(column.type, "length", None) for column in table.c}


def _by_key(connection: Connection, table: Table, columns: tuple[str, ...], rows: list[Values]) -> list[Values]:
    """Return the rows by their keys: two who bring the same ones then wait for each other, and not each for the other.

    SQLite has one writer at a time.  Of rows with one key, the last still comes last.
    """
    if connection.dialect.name == "sqlite":
        return rows
    keys = [columns.index(column.name) for column in table.primary_key]
    return sorted(rows, key=lambda row: [row[key] for key in keys])


def _insert(connection: Connection, table: Table, columns: tuple[str, ...]) -> str:
    """Return the driver's own words: what SQLAlchemy makes of each row takes longer than to store it."""
    quote = connection.dialect.identifier_preparer.quote
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    names, marks = ", ".join(map(quote, columns)), ", ".join([mark] * len(columns))
    return f"INSERT INTO {quote(table.name)} ({names}) VALUES ({marks})"  # noqa: S608  our own names
