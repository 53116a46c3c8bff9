"""Add the head of a ledger to the store, with the databases' own drivers: the agent has it done every minute.

A role of PostgreSQL's needs no more for that than to read ``alembic_version`` and to INSERT into ``heads``.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from gridwarden.accounting import postgresql, store_advice, store_file
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from gridwarden.accounting.heads import Head

LOCK_SECONDS = 20
# Without a target for the conflict, which PostgreSQL would want to let the role read.
_ADD = (
    "INSERT INTO heads (node, seq, hash, time, place) VALUES (:node, :seq, :hash, :time, :place) ON CONFLICT DO NOTHING"
)


def add_head(url: str, head: Head) -> None:
    """Add one, unless it is there; raises ConfigurationError for another schema or no driver, Unavailable."""
    if store_file.is_file(url):
        _add_to_file(url, head)
    else:
        _add_to_server(url, head)


def _add_to_file(url: str, head: Head) -> None:
    path = store_file.path_of(url)
    store_file.check(path)
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=LOCK_SECONDS, isolation_level=None)
        try:
            found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
            read = lambda query: connection.execute(query).fetchall()  # noqa: E731
            store_file.refuse_other_schema(store_file.version({name for (name,) in found}, read), str(path))
            connection.execute(_ADD, head._asdict())
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Unavailable(f"the store {path}: {error}", store_advice.hint(str(error))) from error


def _add_to_server(url: str, head: Head) -> None:
    with closing(postgresql.connect(url, write=True)) as connection:
        read = partial(postgresql.rows, connection, url, values={})
        (table,) = read("SELECT to_regclass('alembic_version')::text")[0]
        store_file.refuse_other_schema(store_file.version({str(table)}, read), postgresql.place_of(url))
        postgresql.rows(connection, url, _ADD, head._asdict())
        postgresql.commit(connection, url)
