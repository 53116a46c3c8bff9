"""Remove what an account left in scratch directories: the only module of the hooks that deletes users' files.

Root lists; a child that has become the account removes, so that whatever a name leads to, no more can be
lost than the account itself could have removed.  Links are never followed and mounts never crossed.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from gridwarden.become import as_account
from gridwarden.prune import files
from gridwarden.prune.descent import Descent
from gridwarden.prune.files import OPEN_DIRECTORY
from gridwarden.prune.mounts import mount_of

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gridwarden.prune.files import Identity, Left

    Limits = tuple[float | None, Collection[Identity]]  # before, spared

SET_ID = stat.S_ISUID | stat.S_ISGID
HANGING_SECONDS = 0.5  # beyond its time for a child that ends by itself
MOST_NAMED = 100  # of what was not reached; how many there are says more than a million names
TOO_YOUNG = "too young"
SPARED = "is a pilot's, lent to a payload, and stays"


def sweep(
    uid: int, gid: int, directories: list[str], seconds: float, *, dry_run: bool = False
) -> tuple[list[str], Left]:
    """Remove every entry of ``directories`` that ``uid`` owns: (paths removed, (path, why it is left)).

    Entries are those directly in a directory, each with all that is below it.  At most ``seconds``.
    """
    deadline = time.monotonic() + seconds
    found, left = files.find(lambda owner: owner == uid, directories, seconds)
    removed: list[str] = []
    for directory, names in found.get(uid, {}).items():
        gone, more = remove(uid, gid, directory, names, deadline, dry_run=dry_run)
        removed += gone
        left += more
    return sorted(removed), sorted(left)


def remove(
    uid: int,
    gid: int,
    directory: str,
    names: list[str],
    deadline: float,
    *,
    before: float | None = None,
    spared: Collection[Identity] = (),
    dry_run: bool = False,
) -> tuple[list[str], Left]:
    """Remove ``names`` from ``directory``, if ``uid`` owns them, until ``deadline`` (of time.monotonic).

    ``before``, in seconds since the epoch: what has changed since then, itself or anything below it, stays
    and is in neither list.  What is ``spared`` stays wherever it is below.  What a dry run would remove it calls removed.
    """
    seconds = deadline - time.monotonic()
    work = _remover(uid, directory, names, deadline, (before, spared), dry_run=dry_run)
    report, _ = as_account(uid, gid, [], work, seconds + HANGING_SECONDS)
    told = [whole.decode("utf-8", "replace") for whole in report.split(b"\0")[:-1]]
    removed = [f"{directory}/{name}" for name, why in zip(names, told, strict=False) if not why]
    left = [(f"{directory}/{name}", why) for name, why in zip(names, told, strict=False) if why not in ("", TOO_YOUNG)]
    unreached = names[len(told) :]
    if len(unreached) > MOST_NAMED:
        left.append((directory, f"{len(unreached)} files and directories in it were not reached in time"))
    else:
        left += [(f"{directory}/{name}", "not reached in time") for name in unreached]
    return removed, left


def _remover(
    uid: int, directory: str, names: list[str], deadline: float, limits: Limits, *, dry_run: bool
) -> Callable[[int], None]:
    """Work that reports for each name why it is left, or nothing, and a zero byte."""
    before, spared = limits

    def work(report: int) -> None:
        try:
            parent = os.open(directory, OPEN_DIRECTORY)
        except OSError as error:
            os.write(report, ((error.strerror or str(error)).encode() + b"\0") * len(names))
            return
        mount = mount_of(parent)
        for name in names:
            try:
                why = _why_left(parent, name, uid, mount, deadline, before)
                if not (why or dry_run):
                    remove_tree(parent, name, mount, deadline, spared)
            except FileNotFoundError:
                why = "" if not _is_there(parent, name) else "changes while it is removed"
            except OSError as error:
                why = error.strerror or str(error)
            os.write(report, why.encode("utf-8", "replace") + b"\0")
            if time.monotonic() > deadline:
                return

    return work


def _why_left(parent: int, name: str, uid: int, mount: bytes, deadline: float, before: float | None) -> str:
    if os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid != uid:
        return "belongs to someone else now"
    return TOO_YOUNG if before is not None and _changed_since(before, parent, name, mount, deadline) else ""


def _changed_since(before: float, parent: int, name: str, mount: bytes, deadline: float) -> bool:
    """Whether ``name`` or anything below it has changed since, by its ctime, which nobody can set back."""
    descent = Descent(parent)
    waiting = [[name]]  # of each directory on the way down, what is still to be looked at
    try:
        while True:
            if not waiting[-1]:
                waiting.pop()
                if not waiting:
                    return False
                descent.up()
                continue
            refuse_late(deadline)
            one = waiting[-1].pop()
            status = os.stat(one, dir_fd=descent.directory, follow_symlinks=False)
            if status.st_ctime >= before:
                return True
            if stat.S_ISDIR(status.st_mode) and (below := _open_readable(descent.directory, one)) is not None:
                if mount_of(below) == mount:
                    names = os.listdir(below)
                    descent.down(one, below)
                    waiting.append(names)
                else:
                    os.close(below)
    finally:
        descent.close()


def _open_readable(parent: int, name: str) -> int | None:
    """Open a directory; None if its owner has closed it, who could not have changed what is in it either."""
    try:
        closed = not os.access(name, os.R_OK | os.X_OK, dir_fd=parent)
        return None if closed else os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except PermissionError:
        return None


def refuse_late(deadline: float) -> None:
    """Raise OSError after ``deadline`` (of time.monotonic)."""
    if time.monotonic() > deadline:
        raise OSError(errno.ETIMEDOUT, "not reached in time")


def _is_there(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_tree(parent: int, name: str, mount: bytes, deadline: float, spared: Collection[Identity] = ()) -> None:
    """Remove ``name`` below the descriptor ``parent``, with all below it that is on ``mount``, not ``spared``; raises OSError.

    The first failure is raised when the rest is gone.  Call it in a child that has become the account.
    """
    descent = Descent(parent)
    waiting = [[name]]  # of each directory on the way down, what is still to be removed
    failure: OSError | None = None
    try:
        while True:
            try:
                if waiting[-1]:
                    refuse_late(deadline)
                    one = waiting[-1].pop()
                    if (below := _remove_or_open(descent.directory, one, mount, spared)) is not None:
                        waiting.append(_names(below))
                        descent.down(one, below)
                    continue
            except OSError as error:
                failure = failure or error
                if error.errno == errno.ETIMEDOUT:
                    raise
                continue
            waiting.pop()
            if not waiting:
                break
            above = descent.up()
            try:
                os.rmdir(above, dir_fd=descent.directory)
            except OSError as error:
                failure = failure or error
    finally:
        descent.close()
    if failure:
        raise failure


def _remove_or_open(parent: int, name: str, mount: bytes, spared: Collection[Identity]) -> int | None:
    """Remove what is no directory, or open what is one; raises OSError when it is of another mount, or spared."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode) and status.st_mode & SET_ID:
            _disarm(parent, name, status.st_mode)
        os.unlink(name, dir_fd=parent)
        return None
    if (status.st_dev, status.st_ino) in spared:
        raise OSError(errno.EBUSY, SPARED)
    directory = _open_own_directory(parent, name)
    if mount_of(directory) == mount:
        return directory
    os.close(directory)
    raise OSError(errno.EXDEV, "another file system is mounted there")


def _names(directory: int) -> list[str]:
    """What it holds; closed when that cannot be told."""
    try:
        return os.listdir(directory)
    except OSError:
        os.close(directory)
        raise


def _disarm(parent: int, name: str, mode: int) -> None:
    """Take set-uid and set-gid off a file that has other names, through which others could still become its owner."""
    try:
        os.chmod(name, stat.S_IMODE(mode) & ~SET_ID, dir_fd=parent)
    except PermissionError:
        pass  # not the account's own file


def _open_own_directory(parent: int, name: str) -> int:
    """Open a directory for removal of what is in it, which its mode may forbid even its owner."""
    try:
        if os.access(name, os.R_OK | os.W_OK | os.X_OK, dir_fd=parent):
            return os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except OSError:
        pass
    # chmod would follow a link put here meanwhile, but with no rights that the account does not have itself.
    os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, OPEN_DIRECTORY, dir_fd=parent)
