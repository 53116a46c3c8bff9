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

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SET_ID = stat.S_ISUID | stat.S_ISGID
DEEPEST = 200  # levels, each a descriptor held open


def sweep(
    uid: int, gid: int, directories: list[str], seconds: float, *, dry_run: bool = False
) -> tuple[list[str], list[tuple[str, str]]]:
    """Remove every entry of ``directories`` that ``uid`` owns: (paths removed, (path, why it is left)).

    Entries are those directly in a directory, each with all that is below it.  At most ``seconds``.
    """
    deadline = time.monotonic() + seconds
    found, left = _entries_of(uid, directories, deadline)
    if dry_run or not found:
        return found, left

    def remove_all(report: int) -> None:
        for path in found:
            why = _remove_one(path, uid, deadline)
            os.write(report, os.fsencode(path) + b"\0" + why.encode("utf-8", "replace") + b"\0")

    report, _ = as_account(uid, gid, [], remove_all, seconds + 1)
    parts = report.split(b"\0")
    outcome = dict(zip(map(os.fsdecode, parts[0:-1:2]), (why.decode() for why in parts[1::2]), strict=False))
    removed = [path for path in found if outcome.get(path) == ""]
    left += [(path, outcome.get(path, "not reached in time")) for path in found if outcome.get(path) != ""]
    return removed, left


def _entries_of(uid: int, directories: list[str], deadline: float) -> tuple[list[str], list[tuple[str, str]]]:
    found = []
    left = []
    seen = set()
    for directory in directories:
        try:
            descriptor = os.open(directory, OPEN_DIRECTORY)
        except FileNotFoundError:
            continue
        except OSError as error:
            left.append((directory, f"cannot be listed: {error.strerror}"))
            continue
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if time.monotonic() > deadline:
                        left.append((directory, "not listed in time"))
                        break
                    if _owner(entry) == uid:
                        found.append(f"{directory}/{entry.name}")
        finally:
            os.close(descriptor)
    return sorted(found), left


def _owner(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_uid
    except OSError:
        return -1  # gone meanwhile


def _remove_one(path: str, uid: int, deadline: float) -> str:
    """Remove a path whose parent is a scratch directory; why it is left, or nothing."""
    directory, name = os.path.split(path)
    try:
        parent = os.open(directory, OPEN_DIRECTORY)
        try:
            if os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid != uid:
                return "belongs to someone else now"
            remove_tree(parent, name, mount_of(parent), deadline)
        finally:
            os.close(parent)
    except FileNotFoundError:
        return "" if not os.path.lexists(path) else "changes while it is removed"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def remove_tree(parent: int, name: str, mount: bytes, deadline: float, depth: int = 0) -> None:
    """Remove ``name`` below the descriptor ``parent``, with all below it that is on ``mount``; raises OSError.

    Call it in a child that has become the account.
    """
    if time.monotonic() > deadline:
        raise OSError(errno.ETIMEDOUT, "not removed in time")
    if depth > DEEPEST:
        raise OSError(errno.ELOOP, "too many levels of directories")
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode) and status.st_mode & SET_ID:
            _disarm(parent, name, status.st_mode)
        os.unlink(name, dir_fd=parent)
        return
    directory = _open_own_directory(parent, name)
    try:
        if mount_of(directory) != mount:
            raise OSError(errno.EXDEV, "another file system is mounted there")
        _remove_below(directory, mount, deadline, depth)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _disarm(parent: int, name: str, mode: int) -> None:
    """Take set-uid and set-gid off a file that has other names, through which others could still become its owner."""
    try:
        os.chmod(name, stat.S_IMODE(mode) & ~SET_ID, dir_fd=parent)
    except PermissionError:
        pass  # not the account's own file


def _remove_below(directory: int, mount: bytes, deadline: float, depth: int) -> None:
    """Remove all that a directory holds; the first failure is raised when the rest is gone."""
    failure = None
    for name in os.listdir(directory):
        try:
            remove_tree(directory, name, mount, deadline, depth + 1)
        except OSError as error:
            failure = failure or error
            if error.errno == errno.ETIMEDOUT:
                break
    if failure:
        raise failure


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


def mount_of(descriptor: int) -> bytes:
    """The kernel's number of the mount that a descriptor is on: bind mounts share st_dev, not this.

    Read as bytes: a child that has become the account may not be able to load a codec any more.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as info:
        return info.read(4096).partition(b"mnt_id:")[2].partition(b"\n")[0]
