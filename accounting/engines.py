"""Engines of the two databases that a store can be in, and what to do about what they complain of.

SQLite with a write-ahead log, so that reports are read while a collector writes; a transaction takes the write
lock when it begins.  PostgreSQL by psycopg 3; who reads sees the database as it was when the reading began.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool, StaticPool

from gridwarden.errors import ConfigurationError

LOCK_SECONDS = 60
CONNECT_SECONDS = 10
CACHE_KIB = 65_536  # at most: pages that a large transaction changes would else be written, and read, many times
IN_MEMORY = "sqlite://"
_ADVICE = (
    (
        ("full", "disk I/O", "No space left"),
        "free space on its file system and run gridwarden collect again; nothing that it had is lost",
    ),
    (("locked", "lock timeout"), "another gridwarden collect is running; run this one again when it has ended"),
    (
        ("unable to open", "readonly"),
        "make its directory writable, or its file system: even reading makes files beside it",
    ),
    (
        ("malformed", "not a database"),
        "keep the file; move it away and gridwarden collect builds a new one from what still exists",
    ),
    (("does not exist",), "make the role and the database that the URL in site.yaml names: docs/store.md"),
    (
        ("permission denied", "authentication"),
        "let the role of the URL in site.yaml connect, and own the database (to collect) or read it",
    ),
)
_DOWN = "start the database, or see its log, and run this again: what was not stored is still where it was"


def engine_of(url: str, *, write: bool) -> Engine:
    """Return the engine for a URL of ``site.yaml``; raises ConfigurationError where its driver is missing."""
    parsed = make_url(url)
    return _sqlite(parsed, write=write) if parsed.drivername == "sqlite" else _postgresql(parsed, write=write)


def hint(problem: str) -> str:
    """Return what to do about what a database said."""
    return next((advice for words, advice in _ADVICE if any(word in problem for word in words)), _DOWN)


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
    if importlib.util.find_spec("psycopg") is None:
        message = "the store is in PostgreSQL, whose driver psycopg is not installed"
        raise ConfigurationError(message, "pip install 'gridwarden[postgresql]', beside this gridwarden")
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "gridwarden",
        # A server that is cut off without a word must not be waited for as long as TCP would.
        "tcp_user_timeout": LOCK_SECONDS * 1000,
        "options": f"-c lock_timeout={LOCK_SECONDS}s -c timezone=UTC",
    }
    isolation = "READ COMMITTED" if write else "REPEATABLE READ"
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=settings | dict(url.query),
        isolation_level=isolation,
        poolclass=NullPool,
    )
    return engine if write else engine.execution_options(postgresql_readonly=True)
