"""Connect to a store in PostgreSQL by psycopg alone: SQLAlchemy takes longer to load than whoran to answer.

URLs are those of libpq (PostgreSQL's manual, "Connection URIs"), of which SQLAlchemy reads the same.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

from gridwarden.accounting import store_advice
from gridwarden.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from psycopg import Connection, Error

LOCK_SECONDS = 60
SETTINGS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "gridwarden",
    # A server that is cut off without a word must not be waited for as long as TCP would.
    "tcp_user_timeout": LOCK_SECONDS * 1000,
    "options": f"-c lock_timeout={LOCK_SECONDS}s -c timezone=UTC",
}
_NAMED = re.compile(r"(?<![:\w]):([a-z]\w*)")  # not a cast, nor a time of day
_PASSWORD = re.compile(r"(?<=://)([^:/?@]*):[^@]*(?=@)|(?<=[?&])(password)=[^&]*")


def refuse_without_driver() -> None:
    """Raise ConfigurationError where the driver is missing."""
    if importlib.util.find_spec("psycopg") is None:
        message = "the store is in PostgreSQL, whose driver psycopg is not installed"
        raise ConfigurationError(message, "pip install 'gridwarden[postgresql]', beside this gridwarden")


def connect(url: str, *, write: bool) -> Connection[tuple[Any, ...]]:
    """Connect to the database of a ``postgresql://`` URL; who only reads sees it as of one moment.

    Raises ConfigurationError without the driver, Unavailable where the database cannot be reached.
    """
    refuse_without_driver()
    import psycopg  # noqa: PLC0415  an optional extra

    try:
        told = psycopg.conninfo.conninfo_to_dict(re.sub(r"^postgresql\+\w+:", "postgresql:", url))
        connection = psycopg.connect(**{**SETTINGS, **told})
    except psycopg.Error as error:
        raise unavailable(url, error) from error
    if not write:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    return connection


def rows(
    connection: Connection[tuple[Any, ...]], url: str, query: str, values: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Return the answer to a query, whose values are bound to ``:name``; raises Unavailable."""
    import psycopg  # noqa: PLC0415  an optional extra

    named = _NAMED.sub(r"%(\1)s", query.replace("%", "%%"))
    try:
        cursor = connection.execute(named.encode(), values)
        return cursor.fetchall() if cursor.description else []  # an INSERT has none
    except psycopg.Error as error:
        raise unavailable(url, error) from error


def commit(connection: Connection[tuple[Any, ...]], url: str) -> None:
    """Make what was done durable; raises Unavailable: it is then done or not, and may be done again."""
    import psycopg  # noqa: PLC0415  an optional extra

    try:
        connection.commit()
    except psycopg.Error as error:
        raise unavailable(url, error) from error


def place_of(url: str) -> str:
    """Return how the database is named to people: without a password."""
    return _PASSWORD.sub(lambda found: f"{found[1] or ''}:***" if found[2] is None else "password=***", url)


def unavailable(url: str, error: Error) -> Unavailable:
    """Return what to raise for an error of the database's."""
    said = " ".join(str(error).split())
    return Unavailable(f"the store {place_of(url)}: {said}", store_advice.hint(said))
