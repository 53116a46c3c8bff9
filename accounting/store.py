"""Open the store: the database that collected records can be queried in.

SQLite with a write-ahead log, so that reports are read while a collector writes.  A transaction takes the
write lock when it begins: two collectors wait for each other instead of failing half-way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, inspect, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool, StaticPool

from gridwarden.accounting import schema, store_file
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

LOCK_SECONDS = 60
_IN_MEMORY = "sqlite://"


class Store:
    """An open store; ``rehearse`` makes every transaction roll back instead of commit (a dry run)."""

    def __init__(self, engine: Engine, place: str, *, rehearse: bool = False) -> None:
        self._engine = engine
        self._place = place
        self._rehearse = rehearse

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything done with the connection becomes durable together, or not at all.

        Raises Unavailable when the database cannot take it (full disk, locked too long, damaged).
        """
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                yield connection
                if self._rehearse:
                    transaction.rollback()
        except DatabaseError as error:
            message = f"the store {self._place}: {error.orig}"
            raise Unavailable(message, _hint(str(error.orig))) from error


def open_store(url: str, *, rehearse: bool = False) -> Store:
    """Open the store for collecting, making it first if it is not there (in memory for a rehearsal).

    Raises ConfigurationError for a newer schema or a file that others could have changed, Unavailable
    when the database cannot be used.
    """
    path = store_file.path_of(url)
    if rehearse and not path.exists():
        store = Store(_engine(_IN_MEMORY, immediate=True), str(path))
    else:
        store_file.create(path)
        store = Store(_engine(f"sqlite:///{path}", immediate=True), str(path), rehearse=rehearse)
    with store.transaction() as connection:
        # An existing schema is only looked at: DDL of a dry run would be rolled back all the same.
        if not inspect(connection).has_table(schema.schema_version.name):
            schema.metadata.create_all(connection)
            connection.execute(insert(schema.schema_version).values(version=store_file.SCHEMA_VERSION))
        _verify(connection, path)
    return store


def open_to_read(url: str) -> Store:
    """Open an existing store for a report; raises as ``open_store``, and Unavailable when there is none."""
    path = store_file.path_of(url)
    store_file.check(path)
    store = Store(_engine(f"sqlite:///{path}", immediate=False), str(path))
    with store.transaction() as connection:
        _verify(connection, path)
    return store


def _verify(connection: Connection, path: Path) -> None:
    version = 0
    if inspect(connection).has_table(schema.schema_version.name):
        version = connection.scalar(select(func.max(schema.schema_version.c.version))) or 0
    store_file.refuse_other_schema(version, path)


def _engine(url: str, *, immediate: bool) -> Engine:
    # No pool: a store is closed between transactions. In memory there is nothing to come back to.
    pool = StaticPool if url == _IN_MEMORY else NullPool
    engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, poolclass=pool)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's own class
        # The driver's implicit transactions would begin at the first write, after positions were read.
        connection.isolation_level = None
        if immediate:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        else:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _hint(problem: str) -> str:
    if "full" in problem or "disk I/O" in problem:
        return "free space on its file system and run gridwarden collect again; nothing that it had is lost"
    if "locked" in problem:
        return "another gridwarden collect is running; run this one again when it has ended"
    if "unable to open" in problem or "readonly" in problem:
        return "make its directory writable, or its file system: even reading makes files beside it"
    return "keep the file; move it away and gridwarden collect builds a new one from what still exists"
