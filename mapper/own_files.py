"""What is gridwarden's own in the gridmapdir: small files below ``.gridwarden``, which other programs skip.

Each kind of them is in a directory of its own, ``.gridwarden/KIND/NAME``, that only root may write.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import Unavailable
from gridwarden.mapper.durable import sync_file_system
from gridwarden.tab_file import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = ".gridwarden"
DIRECTORY_FLAGS = trusted.OPEN_FLAGS | os.O_DIRECTORY
LONGEST_FILE = 64 * 1024
PAGE = 4096
HALF_MADE = ".new-"
LONGEST_WRITING_SECONDS = 3600


class OwnFiles:
    """The files of ours below a checked ``descriptor`` of the gridmapdir ``path``.

    Whatever the file system refuses raises Unavailable; a directory that others could write, ConfigurationError.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._own: dict[str, int] = {}  # of each kind: its directory, opened once and checked
        self._deferred = False

    def close(self) -> None:
        """Close every descriptor."""
        for descriptor in (*self._own.values(), self._descriptor):
            os.close(descriptor)

    def read_own(self, kind: str, name: str) -> bytes | None:
        """The bytes of ``.gridwarden/KIND/NAME``; None when there is no such file."""
        try:
            descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=self._own_directory(kind))
            try:
                data = os.read(descriptor, PAGE)
                if len(data) < PAGE:  # a file is read short at its end only, and asking it again costs a look-up 0.5 µs
                    return data
                return data + trusted.read_all(descriptor, LONGEST_FILE - PAGE, f"{self.path}/{OWN}/{kind}/{name}")
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(f"read {OWN}/{kind}/{name}", error) from error

    @contextmanager
    def open_own(self, kind: str, name: str) -> Iterator[int | None]:
        """A descriptor of ``.gridwarden/KIND/NAME``, for reading; None when there is no such file."""
        try:
            descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=self._own_directory(kind))
        except FileNotFoundError:
            yield None
            return
        with _closing(descriptor):
            yield descriptor

    def list_own(self, kind: str) -> list[str]:
        """The names in ``.gridwarden/KIND``, those of files half-made left out; none when it does not exist."""
        with self._saying(f"list {OWN}/{kind}"):
            try:
                return sorted(name for name in os.listdir(self._own_directory(kind)) if not name.startswith("."))
            except FileNotFoundError:
                return []

    def half_made(self, kind: str) -> list[str]:
        """The files in ``.gridwarden/KIND`` that somebody began to write long ago and will never finish."""
        with self._saying(f"list {OWN}/{kind}"):
            try:
                directory = self._own_directory(kind)
                begun = [name for name in os.listdir(directory) if name.startswith(HALF_MADE)]
                return sorted(name for name in begun if _age(name, directory) > LONGEST_WRITING_SECONDS)
            except FileNotFoundError:
                return []

    def create_own(self, kind: str, name: str, data: bytes) -> bool:
        """Create ``.gridwarden/KIND/NAME`` whole and durably, unless it exists; returns whether it was created."""
        with self._saying(f"create {OWN}/{kind}/{name}"):
            self._make_own_directory(kind)
            directory = self._own_directory(kind)
            with self._temporary(directory, data) as temporary:
                try:
                    os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
                except FileExistsError:
                    return False
                self._fsync(directory)
                return True

    def replace_own(self, kind: str, name: str, data: bytes) -> None:
        """Put ``data`` at ``.gridwarden/KIND/NAME`` whole and durably."""
        with self._saying(f"write {OWN}/{kind}/{name}"):
            self._make_own_directory(kind)
            directory = self._own_directory(kind)
            with self._temporary(directory, data) as temporary:
                os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
                self._fsync(directory)

    def remove_own(self, kind: str, name: str) -> None:
        """Take ``.gridwarden/KIND/NAME`` away."""
        with self._saying(f"remove {OWN}/{kind}/{name}"):
            os.unlink(name, dir_fd=self._own_directory(kind))

    @contextmanager
    def lock_own(self, kind: str, name: str) -> Iterator[None]:
        """Hold the lock of ``.gridwarden/KIND/NAME``, a file that is never removed; waits for it.

        Raises FileNotFoundError when there is no such file yet.
        """
        with self._saying(f"lock {OWN}/{kind}/{name}", FileNotFoundError):
            # NFS gives an exclusive lock only on a file that is open for writing.
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=self._own_directory(kind))
        with _closing(descriptor):
            with self._saying(f"lock {OWN}/{kind}/{name}"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    @contextmanager
    def synced_once(self) -> Iterator[None]:
        """Make whatever is done meanwhile durable in the end, at the price of one; nothing of it before."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
            with self._saying("make leases durable"):
                sync_file_system(self._descriptor)

    def _fsync(self, descriptor: int) -> None:
        if not self._deferred:
            os.fsync(descriptor)

    def _make_own_directory(self, kind: str) -> None:
        if kind in self._own:
            return
        for name in (OWN, f"{OWN}/{kind}"):
            try:
                os.mkdir(name, 0o700, dir_fd=self._descriptor)
            except FileExistsError:
                continue
            parent = os.open(os.path.dirname(name) or ".", DIRECTORY_FLAGS, dir_fd=self._descriptor)
            with _closing(parent):
                self._fsync(parent)

    def _own_directory(self, kind: str) -> int:
        if kind not in self._own:
            with _closing(self._checked(self._descriptor, OWN)) as own:
                self._own[kind] = self._checked(own, kind, f"{OWN}/")
        return self._own[kind]

    def _checked(self, parent: int, name: str, above: str = "") -> int:
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        try:
            trusted.refuse_writable(descriptor, f"gridmapdir {self.path}/{above}{name}", sticky_allowed=False)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def _temporary(self, directory: int, data: bytes) -> Iterator[str]:
        """The name of a new file that holds ``data`` durably; it is gone afterwards, unless renamed."""
        name = f"{HALF_MADE}{os.urandom(8).hex()}"
        descriptor = os.open(name, trusted.CREATE_FLAGS, 0o600, dir_fd=directory)
        try:
            with _closing(descriptor):
                trusted.write_all(descriptor, data)
                self._fsync(descriptor)
            yield name
        finally:
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                pass

    @contextmanager
    def _saying(self, what: str, *expected: type[OSError]) -> Iterator[None]:
        try:
            yield
        except expected:
            raise
        except OSError as error:
            raise self._unavailable(what, error) from error

    def _unavailable(self, what: str, error: OSError) -> Unavailable:
        text = f"gridmapdir {self.path}: cannot {escape(what)}: {error.strerror}"
        return Unavailable(text, "nothing was handed out")


def _age(name: str, directory: int) -> float:
    """Seconds since a file was written, by this machine's clock; none for what is gone."""
    try:
        return time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
