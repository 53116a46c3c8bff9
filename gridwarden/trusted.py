"""Files that decide something: opened first, then checked, and replaced whole.

A file is trusted when root, or whoever runs this process, owns it and nobody else could have written it
or put another in its place: so every directory from ``/`` down is checked on the way, each through the
descriptor of its parent.  Symbolic links are refused rather than judged.
"""

from __future__ import annotations

import os
import stat

from gridwarden.errors import ConfigurationError
from gridwarden.pools import NOBODY

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
READ_LIMIT = 1024 * 1024


def open_directory(path: str | os.PathLike[str]) -> int:
    """A descriptor of the directory ``path`` (absolute), every component checked.

    Raises ConfigurationError when a component is missing, a link, or could have been changed by others.
    A sticky directory (``/tmp``) may be written by all, since nobody can replace there what root owns.
    """
    name = os.path.normpath(os.fspath(path))
    if not name.startswith("/"):
        raise ConfigurationError(f"{name}: the path is not absolute")
    descriptor = _open_below(None, "/", os.O_DIRECTORY, "/")
    seen = ""
    try:
        refuse_writable(descriptor, "/", sticky_allowed=True)
        for component in filter(None, name.split("/")):
            seen += "/" + component
            below = _open_below(descriptor, component, os.O_DIRECTORY, seen)
            os.close(descriptor)
            descriptor = below
            refuse_writable(descriptor, seen, sticky_allowed=True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_installed(path: str | os.PathLike[str]) -> int:
    """``open_directory`` of one that `gridwarden config install` makes, which is the hint where it is missing."""
    try:
        return open_directory(path)
    except ConfigurationError as error:
        hint = "gridwarden config install makes it" if isinstance(error.__cause__, FileNotFoundError) else error.hint
        raise ConfigurationError(error.faults, hint) from error


def open_file(path: str | os.PathLike[str]) -> int:
    """A descriptor, for reading, of the trusted regular file ``path``; raises ConfigurationError."""
    directory, name = os.path.split(os.path.normpath(os.fspath(path)))
    parent = open_directory(directory)
    try:
        descriptor = _open_below(parent, name, os.O_NONBLOCK, os.fspath(path))
    finally:
        os.close(parent)
    try:
        if not stat.S_ISREG(status_of(descriptor, os.fspath(path)).st_mode):
            raise ConfigurationError(f"{path}: is not a regular file")
        refuse_writable(descriptor, os.fspath(path), sticky_allowed=False)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: str | os.PathLike[str], limit: int = READ_LIMIT) -> bytes:
    """The bytes of the trusted file ``path``, at most ``limit``; raises ConfigurationError."""
    descriptor = open_file(path)
    try:
        return read_all(descriptor, limit, os.fspath(path))
    finally:
        os.close(descriptor)


def read_all(descriptor: int, limit: int, name: str) -> bytes:
    """What is left to read of ``descriptor``; raises ConfigurationError for more than ``limit`` bytes, or a disk's fault."""
    parts = []
    left = limit + 1
    try:
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise ConfigurationError(f"{name}: {(error.strerror or str(error)).lower()}") from error
    if not left:
        raise ConfigurationError(f"{name}: is larger than {limit} bytes")
    return b"".join(parts)


def replace_file(path: str | os.PathLike[str], data: bytes, mode: int, group: int = -1) -> None:
    """Put ``data`` at ``path`` as one step: a reader sees the old file or the new one, also after a crash.

    ``group`` is a gid, or -1 for the process's own.  Raises OSError; the old file then still stands.
    """
    directory, name = os.path.split(os.path.normpath(os.fspath(path)))
    parent = open_directory(directory)
    temporary = f".{name[:200]}.{os.urandom(8).hex()}"  # not the pid: another container has the same ones
    try:
        descriptor = os.open(temporary, CREATE_FLAGS, 0o600, dir_fd=parent)
        try:
            write_all(descriptor, data)
            if group != -1:
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.unlink(temporary, dir_fd=parent)
            raise
        finally:
            os.close(descriptor)
        os.fsync(parent)
    finally:
        os.close(parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; raises OSError (a full disk) where that cannot be done."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _open_below(parent: int | None, name: str, flags: int, shown: str) -> int:
    try:
        return os.open(name, OPEN_FLAGS | flags, dir_fd=parent)
    except OSError as error:
        what = "is a symbolic link" if _is_link(parent, name) else (error.strerror or str(error)).lower()
        hint = "name the real path in the configuration" if what == "is a symbolic link" else ""
        raise ConfigurationError(f"{shown}: {what}", hint) from error


def _is_link(parent: int | None, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def status_of(descriptor: int, shown: str) -> os.stat_result:
    """The status of an open file that messages call ``shown``; raises ConfigurationError."""
    try:
        return os.fstat(descriptor)
    except OSError as error:  # a network file system has lost it
        raise ConfigurationError(f"{shown}: {(error.strerror or str(error)).lower()}") from error


def refuse_writable(descriptor: int, shown: str, *, sticky_allowed: bool) -> None:
    """Raise ConfigurationError when others could change the open file or directory that messages call ``shown``."""
    refuse_changeable(status_of(descriptor, shown), shown, sticky_allowed=sticky_allowed)


def refuse_changeable(status: os.stat_result, shown: str, *, sticky_allowed: bool) -> None:
    """Raise ConfigurationError when others could change the file or directory ``shown`` of this status."""
    refuse_owner(status, shown)
    if status.st_mode & WRITABLE_BY_OTHERS and not (sticky_allowed and status.st_mode & stat.S_ISVTX):
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(f"{shown}: can be written by others (mode {mode:04o})", f"chmod go-w {shown}")


def refuse_owner(status: os.stat_result, shown: str) -> None:
    """Raise ConfigurationError when ``shown`` is neither root's nor our own; what is nobody's is anybody's."""
    if status.st_uid not in (0, os.geteuid()) or status.st_uid == NOBODY:
        raise ConfigurationError(
            f"{shown}: belongs to uid {status.st_uid}, who could change what it decides",
            f"chown root {shown}",
        )
