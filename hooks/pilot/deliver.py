"""Give a payload what it needs of its own: a temporary directory, and copies of its credentials.

The copies are written by a child that has become the account, so that wherever a path leads, nothing is written that the
account could not have written itself; and they take their place in one step, complete and readable by it alone.
"""

from __future__ import annotations

import os
import stat

from gridwarden import reasons, trusted
from gridwarden.become import as_account
from gridwarden.errors import Refused, Unavailable
from gridwarden.tab_file import escape

DELIVER_SECONDS = 5.0
TEMPORARY = "gridwarden-payload."
PROXY, TOKEN = "x509up", "bearer_token"
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DONE = b"+"


class Owner:
    """The account that a payload runs as; ``groups`` are all its supplementary ones."""

    __slots__ = ("gid", "groups", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int]) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups


def temporary_path(scratch: list[str], payload: str) -> str:
    """Where the payload's temporary directory will be: in the first of the site's scratch directories that is root's.

    HTCondor mounts directories of the pilot's own over ``/tmp`` and ``/var/tmp`` (MOUNT_UNDER_SCRATCH).
    """
    directories = scratch or ["/tmp"]  # noqa: S108  checked when it is made
    directory = next(filter(_is_roots, directories), directories[0])
    return f"{directory}/{TEMPORARY}{payload}"


def make_temporary(path: str, owner: Owner) -> None:
    """Make the directory ``path`` for the account alone; raises Unavailable, ConfigurationError, Refused."""
    directory, name = os.path.split(path)
    parent = trusted.open_directory(directory)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        # Only root could have put another one there since: nobody else may rename or remove what is root's.
        descriptor = os.open(name, OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise Unavailable(f"{path}: somebody else's directory has taken its place")
            os.fchown(descriptor, owner.uid, owner.gid)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unavailable(f"{path}: the payload's temporary directory cannot be made: {error.strerror}") from error
    finally:
        os.close(parent)


def _is_roots(directory: str) -> bool:
    try:
        return os.stat(directory).st_uid == os.geteuid()
    except OSError:
        return False


def hand_over(copies: dict[str, bytes], owner: Owner) -> None:
    """Write each of the copies (path -> what it holds) as the account, mode 0600, over an own one of before.

    The directory must be the account's, and nobody else's to write.  Raises Refused (target-unusable).
    """

    def write(report: int) -> None:
        for path, data in copies.items():
            why = put(path, data)
            if why:
                trusted.write_all(report, f"{escape(path)}: {why}".encode())
                return
        os.write(report, _DONE)

    told, ended = as_account(owner.uid, owner.gid, owner.groups, write, DELIVER_SECONDS)
    if told == _DONE and ended:
        return
    paths = " and ".join(map(escape, copies))
    late = f"{paths}: could not be written within {DELIVER_SECONDS} s as uid {owner.uid}"
    raise Refused(reasons.TARGET_UNUSABLE, told.decode("utf-8", "replace") if told and ended else late)


def put(path: str, data: bytes) -> str:
    """Write ``data`` to ``path`` in one step, as whom we are; why not, or ""."""
    directory, name = os.path.split(path)
    if not path.startswith("/") or name in ("", ".", "..") or "\0" in path:
        return "is not the absolute path of a file"
    try:
        parent = os.open(directory, OPEN_DIRECTORY)
    except OSError as error:
        return f"its directory: {(error.strerror or str(error)).lower()}"
    try:
        return _why_not(parent, name) or _replace(parent, name, data)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    finally:
        os.close(parent)


def _why_not(parent: int, name: str) -> str:
    """Why nothing may be written there; whoever could change the directory could put another file in its place."""
    status = os.fstat(parent)
    if status.st_uid != os.geteuid():
        return f"its directory belongs to uid {status.st_uid}, not to the payload's account"
    if status.st_mode & _OTHERS_WRITE:
        return f"others can write its directory (mode {stat.S_IMODE(status.st_mode):04o})"
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(there.st_mode) or there.st_uid != os.geteuid() or there.st_nlink != 1:
        return "something else is there: no regular file of the payload's account with one name"
    return ""


def _replace(parent: int, name: str, data: bytes) -> str:
    temporary = f".{name[:200]}.{os.urandom(8).hex()}"
    descriptor = os.open(temporary, trusted.CREATE_FLAGS | os.O_NOFOLLOW, 0o600, dir_fd=parent)
    try:
        trusted.write_all(descriptor, data)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(temporary, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)
    return ""
