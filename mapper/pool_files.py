"""Make a pool's homes, its files of the gridmapdir, and the files that make its users: never over what is there."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError, GridwardenError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.pool import System, Wanted


class ThisMachine:
    """The users and groups that this machine knows, from wherever it has them."""

    def user(self, name: str) -> pwd.struct_passwd | None:
        """The user of that name."""
        try:
            return pwd.getpwnam(name)
        except KeyError:
            return None

    def owner(self, uid: int) -> pwd.struct_passwd | None:
        """The first user of that uid."""
        try:
            return pwd.getpwuid(uid)
        except KeyError:
            return None

    def group(self, name: str) -> grp.struct_group | None:
        """The group of that name."""
        try:
            return grp.getgrnam(name)
        except KeyError:
            return None

    def group_of(self, gid: int) -> grp.struct_group | None:
        """The first group of that gid."""
        try:
            return grp.getgrgid(gid)
        except KeyError:
            return None


def write_new(path: Path, text: str, *, dry_run: bool) -> str:
    """Write a file that is not there yet, and say so; raises ConfigurationError when another is there."""
    if os.path.lexists(path):
        if trusted.read_file(path) == text.encode():
            return f"{path} is there"
        raise ConfigurationError(f"{path}: is there and says something else", "give the path of a new file")
    if not dry_run:
        trusted.replace_file(path, text.encode(), 0o644)
    return f"{'would write' if dry_run else 'wrote'} {path}"


def make(
    accounts: Iterable[Wanted], directory: Gridmapdir, system: System, *, dry_run: bool
) -> tuple[list[str], list[str]]:
    """Make home and file of each account that has a user: what was made (or would be), and what could not be."""
    made, not_made = [], []
    would = "would make" if dry_run else "made"
    for account in accounts:
        if system.user(account.name) is None:
            not_made.append(f"{account.name}: has no user on this machine yet")
            continue
        try:
            if not os.path.lexists(account.home):
                if not dry_run:
                    make_home(account)
                made.append(f"{would} {account.home}")
            elif why := why_not_home(account.home, account.uid):
                not_made.append(f"{account.name}: {why}")
                continue
            if directory.look(account.name) is None:
                if not dry_run:
                    directory.create_account(account.name)
                made.append(f"{would} {directory.path}/{account.name}")
        except (GridwardenError, OSError) as error:
            not_made.append(f"{account.name}: {error}")
    return made, not_made


def make_home(account: Wanted) -> None:
    """Make an empty home of mode 0700 that is the account's; raises OSError, ConfigurationError."""
    above, name = os.path.split(account.home)
    parent = trusted.open_directory(above)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        home = os.open(name, trusted.OPEN_FLAGS | os.O_DIRECTORY, dir_fd=parent)
        try:
            os.fchown(home, account.uid, account.gid)
        finally:
            os.close(home)
    finally:
        os.close(parent)


def why_not_home(path: str, uid: int) -> str:
    """Why a path is not the home of ``uid``, or nothing."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return f"its home {path}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"its home {path} is not a directory"
    return f"its home {path} belongs to uid {status.st_uid}" if status.st_uid != uid else ""
