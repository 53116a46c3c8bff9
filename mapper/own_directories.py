"""The directories of gridwarden's own in the gridmapdir, ``.gridwarden/KIND``, which only root may write.

Each is opened once, below its parent's descriptor, and checked: nobody can swap one in between.
"""

from __future__ import annotations

import os

from gridwarden import trusted
from gridwarden.contexts import contextmanager
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.mapper.durable import sync_file_system
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = ".gridwarden"
DIRECTORY_FLAGS = trusted.OPEN_FLAGS | os.O_DIRECTORY
RESTORE = "restore it from a backup; without one move it aside, and run gridwarden lease check --repair"


class OwnDirectories:
    """What is ours below a checked ``descriptor`` of the gridmapdir ``path``.

    Whatever the file system refuses raises Unavailable; what stands in place of a directory, or one that others could
    write, ConfigurationError.
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
        if kind not in self._own:
            self._make_directory(self._descriptor, OWN)
            with closing(self._checked(self._descriptor, OWN)) as own:
                self._make_directory(own, kind)

    def _make_directory(self, parent: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return
        self._fsync(parent)

    def _own_directory(self, kind: str) -> int:
        if kind not in self._own:
            with closing(self._checked(self._descriptor, OWN)) as own:
                self._own[kind] = self._checked(own, kind, f"{OWN}/")
        return self._own[kind]

    def _checked(self, parent: int, name: str, above: str = "") -> int:
        shown = f"{self.path}/{above}{name}"
        try:
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        except NotADirectoryError:
            raise ConfigurationError(f"gridmapdir {shown}: is not a directory", RESTORE) from None
        try:
            trusted.refuse_writable(descriptor, shown, sticky_allowed=False)
        except ConfigurationError as error:
            os.close(descriptor)
            raise ConfigurationError(f"gridmapdir {error}", error.hint) from error
        return descriptor

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


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close ``descriptor`` in the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)
