"""Engines of the two databases that a store can be in.

SQLite with a write-ahead log, so that reports are read while a collector writes; a transaction takes the write
lock when it begins.  PostgreSQL by psycopg 3; who reads sees the database as it was when the reading began.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool, StaticPool

from gridwarden.accounting import postgresql
from gridwarden.accounting.postgresql import LOCK_SECONDS

CACHE_KIB = 65_536  # at most: pages that a large transaction changes would else be written, and read, many times
IN_MEMORY = "sqlite://"


def engine_of(url: str, *, write: bool) -> Engine:
    """Return the engine for a URL of ``site.yaml``; raises ConfigurationError where its driver is missing."""
    parsed = make_url(url)
    return _sqlite(parsed, write=write) if parsed.drivername == "sqlite" else _postgresql(parsed, write=write)


def _sqlite(url: URL, *, write: bool) -> Engine:
    # No pool: a store is closed between transactions. In memory there is nothing to come back to.
    pool = NullPool if url.database else StaticPool
    engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, poolclass=pool)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's own class
        # The driver's implicit transactions would begin at the first write, after positions were read.
        connection.isolation_level = None
        if write:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        else:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql(url: URL, *, write: bool) -> Engine:
    postgresql.refuse_without_driver()
    isolation = "READ COMMITTED" if write else "REPEATABLE READ"
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=postgresql.SETTINGS | dict(url.query),
        isolation_level=isolation,
        poolclass=NullPool,
    )
    return engine if write else engine.execution_options(postgresql_readonly=True)
