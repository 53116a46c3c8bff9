"""The gridmapdir: the only module that links, unlinks, renames or touches accounts and leases.

The directory is shared with other programs (LCMAPS, Argus, gsissh).  In it lie one empty file an account, and
for each lease a hard link to that file under the lease name.  What is ours alone lies below ``.gridwarden``
(``own_files``), which the others skip since it begins with a dot.  Everything happens below one descriptor,
opened once and checked, so nobody can swap the directory in between.
"""

from __future__ import annotations

import os
import stat

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.own_files import OwnFiles

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from typing import Self


class Gridmapdir(OwnFiles):
    """An open gridmapdir (``with`` statement).

    Raises ConfigurationError when it is missing or somebody else could write in it.  Whatever the file system
    refuses later raises Unavailable, with one line that says what could not be done.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        hint = "it is made by root, mode 0755, with an empty file named as each pool account"
        try:
            descriptor = trusted.open_directory(path)
        except ConfigurationError as error:
            raise ConfigurationError(f"gridmapdir {error}", error.hint or hint) from error
        mode = trusted.status_of(descriptor, f"gridmapdir {path}").st_mode
        if mode & trusted.WRITABLE_BY_OTHERS:
            os.close(descriptor)
            raise ConfigurationError(
                f"gridmapdir {path}: can be written by others (mode {stat.S_IMODE(mode):04o})", f"chmod go-w {path}"
            )
        super().__init__(os.fspath(path), descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is there

    def look(self, name: str) -> os.stat_result | None:
        """The status of a name itself, never of what it leads to; None when it does not exist."""
        try:
            return os.lstat(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(f"look at {name}", error) from error

    def entries(self) -> list[tuple[str, int]]:
        """Every name and its inode number, in one pass that asks the directory alone."""
        with self._saying("read it"), os.scandir(self._descriptor) as entries:
            return [(entry.name, entry.inode()) for entry in entries]

    # What is done

    def create_account(self, name: str) -> None:
        """Make the empty file of an account, durably, unless the name is there."""
        with self._saying(f"create {name}"):
            try:
                os.close(os.open(name, trusted.CREATE_FLAGS | os.O_NOFOLLOW, 0o644, dir_fd=self._descriptor))
            except FileExistsError:
                return
            os.fsync(self._descriptor)

    def link(self, account: str, name: str) -> None:
        """Make the lease ``name`` of ``account``; raises FileExistsError, FileNotFoundError."""
        with self._saying(f"link {account}", FileExistsError, FileNotFoundError):
            os.link(account, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor, follow_symlinks=False)

    def unlink(self, name: str, inode: int) -> None:
        """Take away a lease that this process has just made and not handed out, or a cooling name of ours.

        Only if it still leads to that inode.
        """
        with self._saying(f"unlink {name}", FileNotFoundError):
            if os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_ino == inode:
                os.unlink(name, dir_fd=self._descriptor)

    def rename(self, name: str, cooling_name: str, inode: int) -> bool:
        """Give the lease ``name`` a cooling name, in one step that leaves the link count as it is.

        Returns whether that is how it stands now: a network file system may have done it and say it failed.
        """
        before = self.look(name)
        if before is not None and before.st_ino == inode:
            try:
                os.rename(name, cooling_name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            except OSError:
                pass
        after = self.look(cooling_name)
        return after is not None and after.st_ino == inode and self.look(name) is None

    def touch(self, name: str) -> None:
        """Note that a lease is in use, where LCMAPS and programs that expire leases look for it."""
        with self._saying(f"touch {name}"):
            os.utime(name, dir_fd=self._descriptor, follow_symlinks=False)

    def sync(self) -> None:
        """Make the names durable."""
        with self._saying("make a lease durable"):
            self._fsync(self._descriptor)
