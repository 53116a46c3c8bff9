"""What can be said of a store at a glance, however large it is."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select, text

from gridwarden.accounting import partitions, schema, store_file
from gridwarden.accounting.batch_records import HTCONDOR, SLURM
from gridwarden.accounting.positions import FILE, PSEUDONYMS
from gridwarden.accounting.store import version_of
from gridwarden.times import MICROSECONDS, format_instant

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gridwarden.accounting.store import Store


class Fact(NamedTuple):
    """One row: ``key`` is a word, or a source that was collected."""

    key: str
    value: str


def status(store: Store) -> list[Fact]:
    """Return facts about a store, of another schema only those that every one has; raises Unavailable."""
    with store.transaction() as connection:
        version = version_of(connection)
        facts = [
            Fact("store", store.place),
            Fact("engine", _engine(connection)),
            Fact("bytes", str(_size(connection))),
            Fact("schema", _schema(version)),
        ]
        if version == store_file.SCHEMA_VERSION:
            facts += _months(connection) + _sources(connection)
        return facts


def _engine(connection: Connection) -> str:
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[connection.dialect.name]
    return f"{name} {'.'.join(map(str, connection.dialect.server_version_info or ()))}"


def _size(connection: Connection) -> int:
    query = "SELECT pg_database_size(current_database())"
    if connection.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    return int(connection.scalar(text(query)) or 0)


def _schema(version: int) -> str:
    known = store_file.SCHEMA_VERSION
    if version == known:
        return str(version)
    if version == 0:
        return "none: gridwarden collect makes it"
    return f"{version}; this gridwarden knows {known}" + (": gridwarden store upgrade" if version < known else "")


def _months(connection: Connection) -> list[Fact]:
    if connection.dialect.name == "sqlite":
        return []
    months = [f"{year:04}-{month:02}" for year, month in partitions.existing(connection)]
    return [Fact("months", " ".join(months))] if months else []


def _sources(connection: Connection) -> list[Fact]:
    """Say of each source how far it came; of files, which may be years of days, how many there are."""
    table, columns = schema.faults.c, schema.positions.c
    counted = connection.execute(select(table.source, func.count()).group_by(table.source))
    faults = {source: count for source, count in counted}  # noqa: C416  rows, of which dict() knows no type
    positions = connection.execute(select(columns.source, columns.position).order_by(columns.source))
    facts, files, of_files = [], 0, 0
    for source, position in positions:
        if source.startswith(FILE):
            files, of_files = files + 1, of_files + faults.get(source, 0)
        elif source != PSEUDONYMS:
            is_instant = source.partition(":")[0] in (SLURM, HTCONDOR)
            reached = format_instant(position // MICROSECONDS * MICROSECONDS, UTC) if is_instant else str(position)
            facts.append(Fact(source, _counted(reached, faults.get(source, 0))))
    return [*facts, Fact("files", _counted(str(files), of_files))] if files else facts


def _counted(value: str, faults: int) -> str:
    return f"{value}; {faults} lines that cannot be used" if faults else value
