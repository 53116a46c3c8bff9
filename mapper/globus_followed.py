"""A set of Globus mapping files, followed: read again when one of them changes, kept as it was when that is faulty.

Every decision looks at the files' status (four numbers each), so that a change holds from the next decision on.  The
last good set is also kept in ``STATE/globus/NAME``, since most programs that ask are started for one decision: a fault
made by an editor's half-written file must not close the site, and what was meant cannot be told.  Each change, and each
fault, is a line of syslog.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gridwarden import syslog_line, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper import globus_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridwarden.mapper.globus import Document

RETRY_SECONDS = 5.0  # a fault that is not in the file (a file server that did not answer) goes without a change of it
TICK = 2_000_000_000  # ns; the coarsest clock of a file system that a site would use
Status: TypeAlias = tuple[int, int, int, int, int]


class Good(NamedTuple):
    """Files that could be read, with the documents in them."""

    files: tuple[tuple[str, bytes], ...]
    documents: tuple[Document, ...]


class Followed:
    """One set of files, for as long as a process lives."""

    def __init__(
        self,
        name: str,
        paths: Sequence[str | os.PathLike[str]],
        kept: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``kept`` is the file of the last good set, which is written by ``documents`` unless that only looks."""
        self.name = name
        self.paths = tuple(os.fspath(path) for path in paths)
        self.kept = kept
        self._clock = clock
        self._good: Good | None = None
        self._seen: object = None  # of the files as they were read, if they could not have changed unseen since
        self._told: object = None
        self._retry_at: float | None = None

    def documents(self, *, look_only: bool = False) -> tuple[Document, ...]:
        """The documents in force now; raises ConfigurationError when there never was a good set.

        ``look_only``: nothing is written, also no line of syslog.
        """
        status = tuple(status_of(path) for path in self.paths)
        if self._good and status == self._seen and (self._retry_at is None or self._clock() < self._retry_at):
            return self._good.documents
        try:
            good = self._read()
            if not look_only:
                self._enter(good)
            self._good, self._retry_at = good, None
        except ConfigurationError as fault:
            self._retry_at = self._clock() + RETRY_SECONDS
            if not self._go_on(fault, tell=not look_only and status != self._told):
                raise
        self._told = self._told if look_only else status
        # The status of before the reading: a change meanwhile is seen.
        self._seen = status if is_settled(status) and not look_only else None
        return self._good.documents if self._good else ()

    def _read(self) -> Good:
        """The files as they are now; raises ConfigurationError."""
        files = read(self.paths)
        if self._good and self._good.files == files:
            return self._good
        return Good(files, globus_documents.all_of(files))

    def _enter(self, good: Good) -> None:
        """Keep a good set, and tell of it if it is another than before; raises ConfigurationError."""
        data = encode(good.files)
        before = read_kept(self.kept) if self.kept else encode(self._good.files) if self._good else None
        if before == data:
            return
        if self.kept:
            save(self.kept, data)
        count = len(good.documents)
        syslog_line.decision("globus", "loaded", set=self.name, files=" ".join(self.paths), documents=count)

    def _go_on(self, fault: ConfigurationError, *, tell: bool) -> bool:
        """Go on with what there was, and tell of the fault; False where there was nothing."""
        if not self._good and self.kept and (data := read_kept(self.kept)):
            self._good = decode(data)
        if tell:
            outcome = "kept" if self._good else "failed"
            since = kept_since(self.kept) if self.kept else None
            syslog_line.decision("globus", outcome, set=self.name, detail=str(fault), since=since)
        return self._good is not None


def read(paths: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
    """Each file and its bytes; raises ConfigurationError, also when others could have written it."""
    return tuple((path, trusted.read_file(path, globus_documents.LONGEST_FILE)) for path in paths)


def status_of(path: str) -> Status | None:
    """What changes when a file is written, replaced, or given to somebody; None where it is not there."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_ctime_ns, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def is_settled(statuses: Sequence[Status | None]) -> bool:
    """Whether a further change would show: two within one tick of the file system's clock leave the same status."""
    return all(status is None or abs(time.time_ns() - status[0]) > TICK for status in statuses)


def encode(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Files and their bytes, which are UTF-8, as one."""
    return json.dumps([[name, data.decode()] for name, data in files]).encode("ascii")


def decode(data: bytes) -> Good | None:
    """The set that ``encode`` wrote; None where this version reads it no more."""
    try:
        files = tuple((name, text.encode()) for name, text in json.loads(data))
        return Good(files, globus_documents.all_of(files))
    except (ValueError, TypeError, AttributeError, ConfigurationError):
        return None


def read_kept(path: str | os.PathLike[str]) -> bytes | None:
    """The last good set, or None; raises ConfigurationError when others could have written it."""
    if not os.path.lexists(path):
        return None
    return trusted.read_file(path, 16 * globus_documents.LONGEST_FILE)


def save(path: str | os.PathLike[str], data: bytes) -> None:
    """Keep the last good set; raises ConfigurationError where that cannot be done."""
    try:
        trusted.replace_file(path, data, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
    except ConfigurationError as error:  # the directory
        raise ConfigurationError(error.faults, error.hint or "gridwarden config install makes it") from error


def kept_since(path: str | os.PathLike[str]) -> str | None:
    """When the set that is kept was first in force (UTC)."""
    try:
        seconds = os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
