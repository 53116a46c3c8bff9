"""What is gridwarden's own in the gridmapdir: small files ``.gridwarden/KIND/NAME``, which other programs skip."""

from __future__ import annotations

import errno
import os
import stat
import time

from gridwarden import locks, reasons, trusted
from gridwarden.contexts import contextmanager
from gridwarden.errors import Refused
from gridwarden.mapper.own_directories import OWN, OwnDirectories, closing
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_FLAGS = trusted.OPEN_FLAGS | os.O_NONBLOCK  # nobody waits at a fifo that stands there instead of a file
LOCK_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NFS gives such a lock only to who may write
NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EAGAIN)  # what a link, directory, socket or fifo answers
LONGEST_FILE = 64 * 1024
PAGE = 4096
CHECK = "gridwarden lease check explains it, and repairs it where that is safe"
HALF_MADE = ".new-"
KIND_LOCK = ".lock"  # no name of ours begins with a dot
LONGEST_WRITING_SECONDS = 3600
LOCK_SECONDS = 60.0  # its holder may be working through a whole directory


class OwnFiles(OwnDirectories):
    """The files of ours below a checked ``descriptor`` of the gridmapdir ``path``; raises as ``OwnDirectories``."""

    def read_own(self, kind: str, name: str, longest: int = LONGEST_FILE) -> bytes | None:
        """The bytes of ``.gridwarden/KIND/NAME``; None when there is no such file.

        What stands there and is no file, or is longer than ``longest``, has no bytes: nothing that it says counts.
        """
        try:
            descriptor = os.open(name, READ_FLAGS, dir_fd=self._own_directory(kind))
            try:
                data = os.read(descriptor, PAGE)
                if len(data) < PAGE:  # a file is read short at its end only, and asking it again costs a look-up 0.5 µs
                    return data
                while len(data) <= longest and (more := os.read(descriptor, longest)):
                    data += more
                return data if len(data) <= longest else b""
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in NO_FILE:
                return b""
            raise self._unavailable(f"read {OWN}/{kind}/{name}", error) from error

    @contextmanager
    def open_own(self, kind: str, name: str) -> Iterator[int | None]:
        """A descriptor of ``.gridwarden/KIND/NAME``, for reading; None when there is no file that can be read."""
        try:
            descriptor = os.open(name, READ_FLAGS, dir_fd=self._own_directory(kind))
        except OSError:
            yield None
            return
        with closing(descriptor):
            yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    def look_own(self, kind: str, name: str) -> os.stat_result | None:
        """The status of ``.gridwarden/KIND/NAME`` itself; None when it does not exist."""
        with self._saying(f"look at {OWN}/{kind}/{name}"):
            try:
                return os.lstat(name, dir_fd=self._own_directory(kind))
            except FileNotFoundError:
                return None

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
        """Take ``.gridwarden/KIND/NAME`` away, or an empty directory that stands there."""
        with self._saying(f"remove {OWN}/{kind}/{name}"):
            try:
                os.unlink(name, dir_fd=self._own_directory(kind))
            except IsADirectoryError:
                os.rmdir(name, dir_fd=self._own_directory(kind))

    @contextmanager
    def lock_own(self, kind: str, name: str) -> Iterator[None]:
        """Hold the lock of ``.gridwarden/KIND/NAME``, a file that is never removed; waits for it.

        Raises FileNotFoundError when there is no such file yet, Refused (lease-corrupt) when what has its name is
        none of ours: that could not decide for anybody, nor be locked against others.
        """
        shown = f"{OWN}/{kind}/{name}"
        with self._saying(f"lock {shown}", FileNotFoundError):
            directory = self._own_directory(kind)
        with self._locked(directory, name, shown) as status:
            if why := why_not_ours(status):
                raise self._corrupt(shown, why)
            yield

    @contextmanager
    def lock_kind(self, kind: str, *, shared: bool) -> Iterator[None]:
        """Hold one lock for all of ``.gridwarden/KIND``, beside others who hold it shared; waits for it.

        It is on a file that root alone can open: what everybody may read, anybody can lock for as long as they like.
        """
        shown = f"{OWN}/{kind}/{KIND_LOCK}"
        with self._saying(f"lock {shown}"):
            self._make_own_directory(kind)
            descriptor = os.open(KIND_LOCK, LOCK_FLAGS | os.O_CREAT, 0o600, dir_fd=self._own_directory(kind))
        with closing(descriptor):
            with self._saying(f"lock {shown}"):
                locks.take(descriptor, f"{self.path}/{escape(shown)}", LOCK_SECONDS, shared=shared)
            yield

    @contextmanager
    def _locked(self, directory: int, name: str, shown: str) -> Iterator[os.stat_result]:
        """Hold the lock of a file, and give its status; raises FileNotFoundError, and Refused for what is no file."""
        with self._saying(f"lock {shown}", FileNotFoundError):
            try:
                descriptor = os.open(name, LOCK_FLAGS, dir_fd=directory)
            except OSError as error:
                if error.errno in NO_FILE:
                    raise self._corrupt(shown, "is not a regular file") from error
                raise
        with closing(descriptor):
            with self._saying(f"lock {shown}"):
                locks.take(descriptor, f"{self.path}/{escape(shown)}", LOCK_SECONDS)
                status = os.fstat(descriptor)
            yield status

    def _corrupt(self, what: str, why: str) -> Refused:
        return Refused(reasons.LEASE_CORRUPT, f"{self.path}/{escape(what)} {why}", CHECK)

    @contextmanager
    def _temporary(self, directory: int, data: bytes) -> Iterator[str]:
        """The name of a new file that holds ``data`` durably; it is gone afterwards, unless renamed."""
        name = f"{HALF_MADE}{os.urandom(8).hex()}"
        descriptor = os.open(name, trusted.CREATE_FLAGS, 0o600, dir_fd=directory)
        try:
            with closing(descriptor):
                trusted.write_all(descriptor, data)
                self._fsync(descriptor)
            yield name
        finally:
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                pass


def why_not_ours(status: os.stat_result, longest: int = LONGEST_FILE) -> str:
    """Why nothing counts that stands in a file of this status, or nothing."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_size > longest:
        return f"is larger than {longest} bytes"
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & trusted.WRITABLE_BY_OTHERS:
        return f"could have been written by others (uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def _age(name: str, directory: int) -> float:
    """Seconds since a file was written, by this machine's clock; none for what is gone."""
    try:
        return time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0
