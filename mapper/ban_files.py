"""The two files that ``gridwarden ban`` writes, changed a line at a time, everything else in them left as it was.

A ban that LCMAPS has words for goes where LCMAPS reads it too: a pattern, from now on, without an end.  Any other goes
into our own list.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gridwarden import locks, trusted
from gridwarden.errors import BadQuestion, ConfigurationError, Unavailable
from gridwarden.mapper import ban_list, bans, map_files
from gridwarden.mapper.ban import PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gridwarden.mapper.ban import Ban
    from gridwarden.mapper.site import SiteValues

LOCK = ".gridwarden-lock"
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
LOCK_SECONDS = 60.0


def file_for(whom: Mapping[str, str], start: str, end: str, site: SiteValues) -> str:
    """The file that such a ban belongs in; raises ConfigurationError when the site has none."""
    if set(whom) == {PATTERN} and not start and not end and site.bans:
        return site.bans[0]
    if not site.ban_lists:
        raise ConfigurationError(
            "ban_lists: site.yaml names no ban list", "name one, such as /etc/gridwarden/ban-list, or ban a pattern"
        )
    return site.ban_lists[0]


def own(site: SiteValues) -> list[str]:
    """The files that ``gridwarden ban`` writes."""
    return [*site.bans[:1], *site.ban_lists[:1]]


def change(path: str, gone: Sequence[Ban], added: Ban | None, site: SiteValues) -> None:
    """Take bans out of one file and add one; raises Unavailable, and the file is then as it was."""
    text = without(trusted.read_file(path, bans.READ_LIMIT), [ban.line for ban in gone])
    if added:
        text += b"\n" * (text[-1:] not in (b"\n", b"")) + lines(added, lcmaps=path in site.bans)
    rewrite(path, text)


def lines(ban: Ban, *, lcmaps: bool) -> bytes:
    """The lines of a file that say so."""
    if not lcmaps:
        return f"{ban_list.line(ban)}\n".encode("ascii")
    note = f"{bans.BECAUSE}{ban.because} ({ban.author}, {ban.made})"
    return f"{note}\n{ban_line(ban.pattern)}\n".encode("utf-8", "surrogateescape")


def ban_line(pattern: str) -> str:
    """The line of LCMAPS's that holds ``pattern``; raises BadQuestion when it would be read as another."""
    if not pattern.startswith(bans.BEGINNINGS):
        raise BadQuestion(f"{pattern} matches nobody: a DN or FQAN begins with '/'", "ban '*' followed by a part of it")
    line = f'"{pattern}"'
    try:
        read = map_files.parse_line(line, 1)
    except ValueError as error:
        raise BadQuestion(f"{pattern} cannot stand in a ban file: {error}") from None
    if not read or (read.key, read.rest) != (pattern, "") or "\n" in pattern:
        raise BadQuestion(f"{pattern} cannot stand in a ban file", "put ? in place of a quote, backslash or line end")
    return line


def without(text: bytes, numbers: Sequence[int]) -> bytes:
    """A file's bytes less the lines ``numbers`` and the reasons that stand above them."""
    rows = text.split(b"\n")
    gone = {number - 1 for number in numbers}
    gone |= {place - 1 for place in gone if place and rows[place - 1].startswith(bans.BECAUSE.encode())}
    return b"\n".join(row for place, row in enumerate(rows) if place not in gone)


def rewrite(path: str, text: bytes) -> None:
    """Replace a file as one step, its mode and group kept; raises Unavailable."""
    status = os.stat(path, follow_symlinks=False)
    try:
        trusted.replace_file(path, text, stat.S_IMODE(status.st_mode), status.st_gid)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}", "the bans are as they were") from error


@contextmanager
def locked(site: SiteValues) -> Iterator[None]:
    """Keep two administrators from undoing each other's file or marks.

    Raises ConfigurationError when the site has no file to write.
    """
    if not own(site):
        raise ConfigurationError("bans: site.yaml names no ban file", "name one, such as /etc/gridwarden/bans")
    with alone(os.path.dirname(own(site)[0])):
        yield


@contextmanager
def alone(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Let one process at a time write in a directory; raises ConfigurationError, and Unavailable where it cannot be locked.

    The lock is a file that root alone can open: of a directory or file that everybody may read, any user could hold the
    lock, and with it every ban up.
    """
    parent = trusted.open_directory(directory)
    try:
        descriptor = os.open(LOCK, LOCK_FLAGS, 0o600, dir_fd=parent)
    except OSError as error:
        raise Unavailable(f"{directory}/{LOCK}: cannot be locked: {error.strerror}", "nothing was changed") from error
    finally:
        os.close(parent)
    try:
        locks.take(descriptor, f"{directory}/{LOCK}", LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)
