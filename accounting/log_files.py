"""Log files as administrators keep them: growing, rotated, compressed.

gzip, bzip2 and xz are known by their first bytes, whatever the file is called.  Offsets count uncompressed bytes.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from gridwarden import trusted
from gridwarden.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONGEST_LINE = 1 << 20
WITNESS = 4096
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_FLAGS = trusted.OPEN_FLAGS | os.O_NONBLOCK


class Log:
    """An open log file; ``size`` in bytes and ``modified`` in nanoseconds as the file system has them."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        status = os.fstat(file.fileno())
        self.name = name
        self.size = status.st_size
        self.modified = status.st_mtime_ns
        self._raw = file
        first = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in _COMPRESSIONS.items() if first.startswith(magic)), None)
        self.compressed = opener is not None
        self._file: IO[bytes] = opener(file) if opener else file

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the lines from an offset on, each with its newline; one longer than LONGEST_LINE comes in pieces.

        The last may lack its newline: whoever writes the log may be writing it.  Raises Unavailable.
        """
        with self._readable():
            self._file.seek(offset)
            while line := self._file.readline(LONGEST_LINE):
                yield line

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the log from an offset on in large pieces; raises Unavailable."""
        with self._readable():
            self._file.seek(offset)
            while chunk := self._file.read(LONGEST_LINE):
                yield chunk

    def before(self, offset: int) -> bytes | None:
        """Return the bytes before an offset, at most WITNESS of them; None where the log ends earlier.

        Raises Unavailable.
        """
        length = min(offset, WITNESS)
        with self._readable():
            self._file.seek(offset - length)
            found = self._file.read(length)
        return found if len(found) == length else None

    def bytes_read(self) -> int:
        """Return how far the file itself has been read, of its ``size``."""
        return min(self._raw.tell(), self.size)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            message = f"{self.name}: cannot be read to its end: {reason.lower()}"
            raise Unavailable(message, "what came before is in the store; look for a whole copy") from error


@contextmanager
def open_log(path: Path, owners: frozenset[int] = frozenset()) -> Iterator[Log]:
    """Open a log that only root, whoever runs this, or one of ``owners`` (uids) can have written.

    Raises ConfigurationError where others could, or it is no regular file (a symbolic link is none), and Unavailable
    where it cannot be opened.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        what = "is a symbolic link" if path.is_symlink() else (error.strerror or str(error)).lower()
        raise Unavailable(f"{path}: {what}", "name the file itself, and run as root") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):  # of a directory, no file can be made
        os.close(descriptor)
        hint = f"name the files in it: {path}/*" if stat.S_ISDIR(status.st_mode) else "name a file"
        raise ConfigurationError(f"{path}: is not a regular file", hint)
    with open(descriptor, "rb") as file:
        if status.st_uid not in owners:
            trusted.refuse_owner(status, str(path))
        if status.st_mode & trusted.WRITABLE_BY_OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigurationError(f"{path}: can be written by others (mode {mode:04o})", f"chmod go-w {path}")
        yield Log(file, os.fsencode(path).decode("utf-8", "backslashreplace"))
