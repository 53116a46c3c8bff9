"""Rebuild an account's home from a skeleton of root's, so that nothing of its last holder is left in it.

Root reads the skeleton.  A child opens the checked directory that holds the home, becomes the account, and then
opens, empties and fills the home: no link is followed, no other file system entered, and no more can be lost or
written than the account itself could.  This works where root is nobody (root_squash) as well, and a home on a file
system that does not answer costs no more than its time.
"""

from __future__ import annotations

import os
import stat
import time

from gridwarden import child, trusted
from gridwarden.become import become
from gridwarden.errors import ConfigurationError
from gridwarden.prune.files import OPEN_DIRECTORY
from gridwarden.prune.mounts import mount_of
from gridwarden.prune.remove import remove_tree

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str, str], None]

LONGEST_SKELETON_FILE = 1024 * 1024
CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def rebuild(home: str, uid: int, gid: int, skeleton: str, seconds: float) -> tuple[list[str], list[tuple[str, str]]]:
    """Empty ``home`` and fill it from the files of ``skeleton``: (paths removed, (path, why it is left)).

    A file that is as the skeleton has it stays.  A home that does not exist is left so.
    """
    try:
        files = _skeleton(skeleton)
    except ConfigurationError as error:
        return [], [(home, f"cannot be rebuilt: {error}")]
    deadline = time.monotonic() + seconds

    def work(report: int) -> None:
        def say(name: str, why: str) -> None:
            os.write(report, os.fsencode(name) + b"\0" + why.encode("utf-8", "replace") + b"\0")

        _rebuild(home, uid, gid, files, deadline, say)

    report, finished = child.run(work, seconds + 1)
    parts = report.split(b"\0")
    said = [
        (os.path.join(home, os.fsdecode(name)).rstrip("/"), why.decode())
        for name, why in zip(parts[0:-1:2], parts[1::2], strict=False)
    ]
    left = [(path, why) for path, why in said if why]
    if not finished:
        left.append((home, "could not be rebuilt, or not in time"))
    return [path for path, why in said if not why], left


def _rebuild(home: str, uid: int, gid: int, files: dict[str, tuple[int, bytes]], deadline: float, say: Say) -> None:
    """Do it, in a child that becomes the account; ``say`` each name, "" for the home itself, as ``_empty`` does."""
    own = os.path.basename(home)  # a name that only the owner of the parent, whom we trust, can change
    try:
        parent = trusted.open_directory(os.path.dirname(home))
        status = os.stat(own, dir_fd=parent, follow_symlinks=False)
    except ConfigurationError as error:
        say("", f"cannot be rebuilt: {error}")
        return
    except FileNotFoundError:
        return
    if status.st_uid != uid or not stat.S_ISDIR(status.st_mode):
        say("", f"belongs to uid {status.st_uid}" if status.st_uid != uid else "is not a directory")
        return
    become(uid, gid, [])
    os.chmod(own, 0o700, dir_fd=parent)
    directory = os.open(own, OPEN_DIRECTORY, dir_fd=parent)
    _drop_attributes(directory)
    _empty(directory, uid, files, deadline, say)
    for name, (mode, data) in files.items():
        _write(directory, name, mode, data, say)


def _skeleton(skeleton: str) -> dict[str, tuple[int, bytes]]:
    """The regular files directly in the skeleton, with their permissions; raises ConfigurationError."""
    descriptor = trusted.open_directory(skeleton)
    try:
        names = [
            name
            for name in os.listdir(descriptor)
            if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
        ]
        files = {}
        for name in names:
            path = os.path.join(skeleton, name)
            mode = stat.S_IMODE(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode) & 0o755
            files[name] = mode, trusted.read_file(path, LONGEST_SKELETON_FILE)
    finally:
        os.close(descriptor)
    return files


def _drop_attributes(directory: int) -> None:
    """Drop ACLs, which would open the home or whatever is made in it to others, and the user's own attributes."""
    for name in os.listxattr(directory):
        if name.startswith(("system.posix_acl", "user.")):
            os.removexattr(directory, name)


def _empty(directory: int, uid: int, files: dict[str, tuple[int, bytes]], deadline: float, say: Say) -> None:
    """Remove all but what is as the skeleton has it; ``say`` each name, with why it is left or nothing."""
    mount = mount_of(directory)
    for name in os.listdir(directory):
        if name in files and _is_as(directory, name, uid, *files[name]):
            continue
        try:
            remove_tree(directory, name, mount, deadline)
            say(name, "")
        except OSError as error:
            say(name, error.strerror or str(error))


def _is_as(directory: int, name: str, uid: int, mode: int, data: bytes) -> bool:
    """Whether a file is the account's own, has no other name, and is as the skeleton has it."""
    try:
        descriptor = os.open(name, trusted.OPEN_FLAGS | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        own = (status.st_uid, status.st_nlink, status.st_mode) == (uid, 1, stat.S_IFREG | mode)
        return own and not os.listxattr(descriptor) and os.read(descriptor, len(data) + 1) == data
    finally:
        os.close(descriptor)


def _write(directory: int, name: str, mode: int, data: bytes, say: Say) -> None:
    try:
        descriptor = os.open(name, CREATE_FLAGS, 0o600, dir_fd=directory)
    except FileExistsError:
        return  # as the skeleton has it, or reported as left
    except OSError as error:
        say(name, f"cannot be made: {error.strerror}")
        return
    try:
        trusted.write_all(descriptor, data)
        os.fchmod(descriptor, mode)
    except OSError as error:
        say(name, f"cannot be written: {error.strerror}")
    finally:
        os.close(descriptor)
