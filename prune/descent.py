"""Go down into directories and up again with one descriptor open, however deep they lie in one another.

Nothing is followed: down leads only into what the caller has opened, and up only to the directory from which it went
down, the same by device and inode.
"""

from __future__ import annotations

import errno
import os

from gridwarden.prune.files import OPEN_DIRECTORY


class Descent:
    """Where a walk is: ``directory`` is the descriptor of the present one, first that of ``top``, which stays open."""

    __slots__ = ("_above", "_top", "directory")

    def __init__(self, top: int) -> None:
        self._top = top
        self._above: list[tuple[str, int, int]] = []
        self.directory = top

    def down(self, name: str, descriptor: int) -> None:
        """Go on in the directory ``name`` of the present one, which is open as ``descriptor``."""
        here = os.fstat(self.directory)
        self._above.append((name, here.st_dev, here.st_ino))
        self.close()
        self.directory = descriptor

    def up(self) -> str:
        """Go back, and say the name of what was left; raises OSError when it was moved elsewhere meanwhile."""
        name, *identity = self._above.pop()
        above = os.open("..", OPEN_DIRECTORY, dir_fd=self.directory) if self._above else self._top
        status = os.fstat(above)
        if identity != [status.st_dev, status.st_ino]:
            os.close(above)
            raise OSError(errno.ESTALE, "its directories are moved while they are looked at")
        self.close()
        self.directory = above
        return name

    def close(self) -> None:
        """Close the present directory."""
        if self.directory != self._top:
            os.close(self.directory)
            self.directory = self._top
