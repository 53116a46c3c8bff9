"""The gridmapdir: the only module that links, unlinks, renames or touches anything in it.

The directory is shared with other programs (LCMAPS, Argus, gsissh).  In it lie one empty file an account, and
for each lease a hard link to that file under the lease name.  What is ours alone lies below ``.gridwarden``,
which the others skip since it begins with a dot.  Everything happens below one descriptor, opened once and
checked, so nobody can swap the directory in between.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from gridwarden import trusted
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.tab_file import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = ".gridwarden"
DIRECTORY_FLAGS = trusted.OPEN_FLAGS | os.O_DIRECTORY
LONGEST_FILE = 64 * 1024


class Gridmapdir:
    """An open gridmapdir (``with`` statement).

    Raises ConfigurationError when it is missing or somebody else could write in it.  Whatever the file system
    refuses later raises Unavailable, with one line that says what could not be done.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        hint = "it is made by root, mode 0755, with an empty file named as each pool account"
        try:
            self._descriptor = trusted.open_directory(path)
        except ConfigurationError as error:
            raise ConfigurationError(f"gridmapdir {error}", error.hint or hint) from error
        mode = os.fstat(self._descriptor).st_mode
        if mode & trusted.WRITABLE_BY_OTHERS:
            os.close(self._descriptor)
            raise ConfigurationError(
                f"gridmapdir {path}: can be written by others (mode {stat.S_IMODE(mode):04o})", f"chmod go-w {path}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    # What is there

    def look(self, name: str) -> os.stat_result | None:
        """The status of a name itself, never of what it leads to; None when it does not exist."""
        with self._saying(f"look at {name}"):
            try:
                return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                return None

    def entries(self) -> list[tuple[str, int]]:
        """Every name and its inode number, in one pass that asks the directory alone."""
        with self._saying("read it"), os.scandir(self._descriptor) as entries:
            return [(entry.name, entry.inode()) for entry in entries]

    def read_own(self, kind: str, name: str) -> bytes | None:
        """The bytes of ``.gridwarden/KIND/NAME``; None when there is no such file."""
        with self._saying(f"read {OWN}/{kind}/{name}"):
            try:
                with self._own_directory(kind) as directory:
                    descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=directory)
            except FileNotFoundError:
                return None
            with _closing(descriptor):
                return trusted.read_all(descriptor, LONGEST_FILE, f"{self.path}/{OWN}/{kind}/{name}")

    # What is done

    def link(self, account: str, name: str) -> None:
        """Make the lease ``name`` of ``account``; raises FileExistsError, FileNotFoundError."""
        with self._saying(f"link {account}", FileExistsError, FileNotFoundError):
            os.link(account, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor, follow_symlinks=False)

    def unlink(self, name: str, inode: int) -> None:
        """Take back a lease that this process has just made and not handed out, if it is still the same one."""
        with self._saying(f"unlink {name}", FileNotFoundError):
            if os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_ino == inode:
                os.unlink(name, dir_fd=self._descriptor)

    def touch(self, name: str) -> None:
        """Note that a lease is in use, where LCMAPS and programs that expire leases look for it."""
        with self._saying(f"touch {name}"):
            os.utime(name, dir_fd=self._descriptor, follow_symlinks=False)

    def sync(self) -> None:
        """Make the names durable."""
        with self._saying("make a lease durable"):
            os.fsync(self._descriptor)

    def create_own(self, kind: str, name: str, data: bytes) -> None:
        """Create ``.gridwarden/KIND/NAME`` whole and durably, unless it exists."""
        with self._saying(f"create {OWN}/{kind}/{name}"):
            self._make_own_directory(kind)
            with self._own_directory(kind) as directory, _temporary(directory, data) as temporary:
                try:
                    os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
                except FileExistsError:
                    return
                os.fsync(directory)

    def replace_own(self, kind: str, name: str, data: bytes) -> None:
        """Put ``data`` at ``.gridwarden/KIND/NAME`` whole and durably."""
        with self._saying(f"write {OWN}/{kind}/{name}"):
            self._make_own_directory(kind)
            with self._own_directory(kind) as directory, _temporary(directory, data) as temporary:
                os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)

    def remove_own(self, kind: str, name: str) -> None:
        """Take ``.gridwarden/KIND/NAME`` away."""
        with self._saying(f"remove {OWN}/{kind}/{name}"), self._own_directory(kind) as directory:
            os.unlink(name, dir_fd=directory)

    @contextmanager
    def lock_own(self, kind: str, name: str) -> Iterator[None]:
        """Hold the lock of ``.gridwarden/KIND/NAME``, a file that is never removed; waits for it."""
        with self._saying(f"lock {OWN}/{kind}/{name}"), self._own_directory(kind) as directory:
            # NFS gives an exclusive lock only on a file that is open for writing.
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        with _closing(descriptor):
            with self._saying(f"lock {OWN}/{kind}/{name}"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def _make_own_directory(self, kind: str) -> None:
        for name in (OWN, f"{OWN}/{kind}"):
            try:
                os.mkdir(name, 0o700, dir_fd=self._descriptor)
            except FileExistsError:
                continue
            parent = os.open(os.path.dirname(name) or ".", DIRECTORY_FLAGS, dir_fd=self._descriptor)
            with _closing(parent):
                os.fsync(parent)

    @contextmanager
    def _own_directory(self, kind: str) -> Iterator[int]:
        with self._checked(self._descriptor, OWN) as own, self._checked(own, kind, f"{OWN}/") as directory:
            yield directory

    @contextmanager
    def _checked(self, parent: int, name: str, above: str = "") -> Iterator[int]:
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        with _closing(descriptor):
            trusted.refuse_writable(descriptor, f"gridmapdir {self.path}/{above}{name}", sticky_allowed=False)
            yield descriptor

    @contextmanager
    def _saying(self, what: str, *expected: type[OSError]) -> Iterator[None]:
        try:
            yield
        except expected:
            raise
        except OSError as error:
            raise Unavailable(
                f"gridmapdir {self.path}: cannot {escape(what)}: {error.strerror}", "nothing was handed out"
            ) from error


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(directory: int, data: bytes) -> Iterator[str]:
    """The name of a new file that holds ``data`` durably; it is gone afterwards, unless renamed."""
    name = f".new-{os.urandom(8).hex()}"
    descriptor = os.open(name, trusted.CREATE_FLAGS, 0o600, dir_fd=directory)
    try:
        with _closing(descriptor):
            trusted.write_all(descriptor, data)
            os.fsync(descriptor)
        yield name
    finally:
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
