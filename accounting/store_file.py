"""The SQLite file of the store: where it is, who may touch it, and which schema it has.

Only the standard library is needed here, so that ``whoran`` can read a store without waiting for more.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden import trusted
from gridwarden.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA_VERSION = 8
_SQLITE = "sqlite:///"


def is_file(url: str) -> bool:
    """Say whether a URL names a file of SQLite, not a database of a server."""
    return url.startswith(_SQLITE)


def path_of(url: str) -> Path:
    """Return the file that a ``sqlite:////…`` URL names."""
    return Path(url.removeprefix(_SQLITE))


def create(path: Path) -> None:
    """Make sure that the file exists, readable by its owner alone; raises ConfigurationError, Unavailable.

    SQLite gives its -wal and -shm files the mode of the database, so this one mode is enough.
    """
    directory = trusted.open_directory(path.parent)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path.name, flags, 0o600, dir_fd=directory))
    except FileExistsError:
        check(path)
    except OSError as error:
        message = f"the store {path} cannot be created: {(error.strerror or str(error)).lower()}"
        raise Unavailable(message, "make the directory writable, or run as root") from error
    finally:
        os.close(directory)


def check(path: Path) -> None:
    """Refuse a store that others than its owner could have read or changed; raises ConfigurationError.

    Raises Unavailable when there is none, or when it cannot be reached.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        message = f"there is no store {path} yet"
        raise Unavailable(message, "gridwarden collect makes it") from None
    except OSError as error:
        message = f"the store {path} cannot be read: {(error.strerror or str(error)).lower()}"
        raise Unavailable(message, "run as root") from None
    os.close(trusted.open_directory(path.parent))
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in {0, os.geteuid()}:
        message = f"{path}: is not a regular file of root"
        raise ConfigurationError(message, "the store holds who did what: move that file away")
    if stat.S_IMODE(status.st_mode) & 0o077:
        message = f"{path}: can be read or written by others (mode {stat.S_IMODE(status.st_mode):04o})"
        raise ConfigurationError(message, f"chmod 600 {shlex.quote(str(path))}")


def version(tables: set[str], read: Callable[[str], list[tuple[Any, ...]]]) -> int:
    """Return the version of a schema with these tables, 0 where there is none; ``read`` answers a query.

    Alembic keeps it as text, here four digits; whatever else stands there is of a later gridwarden.
    """
    if "alembic_version" not in tables:
        return 0
    found = read("SELECT version_num FROM alembic_version")
    text = str(found[0][0]) if found else "0"
    return int(text) if text.isascii() and text.isdigit() else SCHEMA_VERSION + 1


def refuse_other_schema(version: int, place: str) -> None:
    """Refuse a store with another schema than ours (ConfigurationError), or none (Unavailable)."""
    if version == 0:
        message = f"the store {place} is empty"
        raise Unavailable(message, "gridwarden collect fills it")
    if version == SCHEMA_VERSION:
        return
    message = f"the store {place} has schema {version}, this gridwarden knows schema {SCHEMA_VERSION}"
    command = "gridwarden store upgrade"
    if version > SCHEMA_VERSION:
        command = f"{shlex.quote(sys.executable)} -m pip install --upgrade gridwarden"
    raise ConfigurationError(message, f"run {command}")
