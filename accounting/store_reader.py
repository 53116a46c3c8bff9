"""Read the store for ``whoran``: with the databases' own drivers, for it must answer before SQLAlchemy is loaded.

A reader answers everything as of one moment.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Protocol

from gridwarden.accounting import postgresql, store_file
from gridwarden.accounting.rows import fitting
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

Values = dict[str, Any]
LOCK_SECONDS = 10


class Reader(Protocol):
    """An open store; values are bound to ``:name`` in a query."""

    def rows(self, query: str, values: Values) -> list[tuple[Any, ...]]:
        """Return the answer to a query; raises Unavailable."""

    def close(self) -> None:
        """Let go of the store."""


def open_reader(url: str) -> Reader:
    """Open the store; raises ConfigurationError for one that cannot be trusted or has another schema, Unavailable."""
    return _File(store_file.path_of(url)) if store_file.is_file(url) else _Server(url)


def _as_stored(values: Values) -> Values:
    """Return the values as collectors write them, of which no driver takes what is not UTF-8."""
    return {name: fitting(value, None) if isinstance(value, str) else value for name, value in values.items()}


class _File:
    def __init__(self, path: Path) -> None:
        store_file.check(path)
        self._path = path
        try:
            self._connection = sqlite3.connect(
                f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS, isolation_level=None
            )
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        self.rows("BEGIN", {})
        tables = {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'", {})}
        store_file.refuse_other_schema(store_file.version(tables, lambda query: self.rows(query, {})), str(path))

    def rows(self, query: str, values: Values) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, _as_stored(values)).fetchall()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        self._connection.close()

    def _unavailable(self, error: sqlite3.Error) -> Unavailable:
        return Unavailable(f"the store {self._path} cannot be read: {error}", "run as root, or restore the file")


class _Server:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = postgresql.connect(url, write=False)
        tables = {str(name) for (name,) in self.rows("SELECT to_regclass('alembic_version')", {})}
        version = store_file.version(tables, lambda query: self.rows(query, {}))
        store_file.refuse_other_schema(version, postgresql.place_of(url))

    def rows(self, query: str, values: Values) -> list[tuple[Any, ...]]:
        return postgresql.rows(self._connection, self._url, query, _as_stored(values))

    def close(self) -> None:
        self._connection.close()
