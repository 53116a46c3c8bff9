"""The SQLite file of the store: where it is, who may touch it, and which schema it has.

Only the standard library is needed here, so that ``whoran`` can read a store without waiting for more.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path

from gridwarden import trusted
from gridwarden.errors import ConfigurationError, Unavailable

SCHEMA_VERSION = 1
_SQLITE = "sqlite:///"


def path_of(url: str) -> Path:
    """Return the file that a ``sqlite:////…`` URL names; raises ConfigurationError for another database."""
    if not url.startswith(_SQLITE + "/"):
        kind = url.partition(":")[0]
        message = f"store: this version of gridwarden keeps its store in SQLite, not in {kind}"
        raise ConfigurationError(message, "set store: sqlite:////var/lib/gridwarden/store.sqlite in site.yaml")
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


def refuse_other_schema(version: int, path: Path) -> None:
    """Refuse a store that a newer gridwarden has written (ConfigurationError), or none has (Unavailable)."""
    if version == 0:
        message = f"the store {path} is empty"
        raise Unavailable(message, "gridwarden collect fills it")
    if version != SCHEMA_VERSION:
        message = f"the store {path} has schema {version}, this gridwarden knows schema {SCHEMA_VERSION}"
        command = f"{shlex.quote(sys.executable)} -m pip install --upgrade gridwarden"
        raise ConfigurationError(message, f"run {command}")
