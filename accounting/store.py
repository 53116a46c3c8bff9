"""Open the store: the database that collected records can be queried in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from gridwarden.accounting import store_file
from gridwarden.accounting.engines import IN_MEMORY, engine_of
from gridwarden.accounting.migrate import migrate
from gridwarden.accounting.store_advice import hint
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

# Any number that nobody else takes: who makes or changes the schema has PostgreSQL's lock of that number.
_SCHEMA_LOCK = 0x67726964


class Store:
    """An open store; ``rehearse`` makes every transaction roll back instead of commit (a dry run)."""

    def __init__(self, engine: Engine, place: str, *, rehearse: bool = False) -> None:
        self.place = place
        self._engine = engine
        self._rehearse = rehearse

    @property
    def partitioned(self) -> bool:
        """Whether the records are kept by month."""
        return self._engine.dialect.name == "postgresql"

    def refuse_other_schema(self) -> None:
        """Refuse a store of another schema than ours (ConfigurationError), or of none (Unavailable)."""
        with self.transaction() as connection:
            store_file.refuse_other_schema(version_of(connection), self.place)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything done with the connection becomes durable together, or not at all.

        Raises Unavailable when the database cannot take it (full disk, locked too long, damaged, stopped).
        """
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                yield connection
                if self._rehearse:
                    transaction.rollback()
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            raise Unavailable(f"the store {self.place}: {said}", hint(said)) from error


def open_store(url: str, *, rehearse: bool = False) -> Store:
    """Open the store for collecting, making it first if it is not there (in memory for a rehearsal).

    Raises ConfigurationError for another schema or a file that others could have changed, Unavailable
    when the database cannot be used.
    """
    if store_file.is_file(url):
        if rehearse and not store_file.path_of(url).exists():
            return _made(Store(engine_of(IN_MEMORY, write=True), place_of(url)))
        store_file.create(store_file.path_of(url))
    store = Store(engine_of(url, write=True), place_of(url), rehearse=rehearse)
    with store.transaction() as connection:
        version = version_of(connection)
    if version:
        store_file.refuse_other_schema(version, store.place)
        return store
    return _made(Store(engine_of(IN_MEMORY, write=True), store.place) if rehearse else store)


def open_to_read(url: str) -> Store:
    """Open an existing store for a report; raises as ``open_store``, and Unavailable when there is none."""
    store = open_any(url, write=False)
    store.refuse_other_schema()
    return store


def open_any(url: str, *, write: bool, rehearse: bool = False) -> Store:
    """Open an existing store whatever its schema; raises as ``open_to_read``."""
    if store_file.is_file(url):
        store_file.check(store_file.path_of(url))
    return Store(engine_of(url, write=write), place_of(url), rehearse=rehearse)


def upgrade(store: Store) -> tuple[int, int]:
    """Bring the schema to the one that this gridwarden knows; return the versions before and after.

    Everything in one transaction: a kill leaves the schema as it was.  Raises as ``open_store``.
    """
    with store.transaction() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})"))
        before = version_of(connection)
        if before > store_file.SCHEMA_VERSION:
            store_file.refuse_other_schema(before, store.place)
        migrate(connection)
        return before, version_of(connection)


def version_of(connection: Connection) -> int:
    """Return the schema's version, 0 where the database is empty."""
    read: Callable[[str], list[tuple[str, ...]]] = lambda query: [tuple(row) for row in connection.execute(text(query))]  # noqa: E731
    return store_file.version(set(inspect(connection).get_table_names()), read)


def place_of(url: str) -> str:
    """Return how a store is named to people: its file, or its URL."""
    return str(store_file.path_of(url)) if store_file.is_file(url) else make_url(url).render_as_string()


def _made(store: Store) -> Store:
    upgrade(store)
    return store
