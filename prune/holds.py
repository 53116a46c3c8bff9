"""Accounts on hold for an incident: what they run is stopped, not killed, and what they left is kept, not deleted.

An account is on hold while root's file ``STATE/holds/ACCOUNT`` exists; its text says why, and who wants that.
Files go to ``.gridwarden-quarantine`` in the directory where they lay: no other file system, no copy, and
nobody but root can enter it.
"""

from __future__ import annotations

import os
import time

from gridwarden import child, holds
from gridwarden.prune.files import OPEN_DIRECTORY

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.prune.files import Left

QUARANTINE = ".gridwarden-quarantine"
HANGING_SECONDS = 0.5  # beyond its time for a child that ends by itself


def why_held(site: dict[str, list[str]], account: str) -> str:
    """Why an account is on hold on this machine, or nothing; raises as ``gridwarden.holds.why_held``.

    A node file that was written before there were holds names no directory of them.
    """
    return holds.why_held(site["holds"][0], account) if "holds" in site else ""


def quarantine(
    uid: int, account: str, directory: str, names: list[str], deadline: float
) -> tuple[list[tuple[str, str]], Left]:
    """Move ``names``, if ``uid`` owns them, out of everybody's reach: ((path, where it is now), (path, why not)).

    Until ``deadline`` (of time.monotonic).
    """
    seconds = deadline - time.monotonic() + HANGING_SECONDS
    report, _ = child.run(_mover(uid, account, directory, names, deadline), seconds)
    told = [os.fsdecode(line).partition("/") for line in report.split(b"\0")[:-1]]
    moved = []
    left = []
    for name, (into, _, why) in zip(names, told, strict=False):
        if into:
            moved.append((f"{directory}/{name}", f"{directory}/{QUARANTINE}/{into}"))
        else:
            left.append((f"{directory}/{name}", why))
    left += [(f"{directory}/{name}", "not reached in time") for name in names[len(told) :]]
    return moved, left


def _mover(uid: int, account: str, directory: str, names: list[str], deadline: float) -> Callable[[int], None]:
    """Work that reports for each name ``NEW NAME/`` or ``/WHY`` and a zero byte."""

    def work(report: int) -> None:
        try:
            place = os.open(directory, OPEN_DIRECTORY)
            into = _open_quarantine(place)
        except OSError as error:
            os.write(report, f"/{error.strerror}\0".encode() * len(names))
            return
        for name in names:
            new = f"{account}.{os.urandom(8).hex()}"
            try:
                why = _move(uid, place, name, into, new)
            except OSError as error:
                why = error.strerror or str(error)
            os.write(report, f"/{why}\0".encode() if why else f"{new}/\0".encode())
            if time.monotonic() > deadline:
                return

    return work


def _open_quarantine(place: int) -> int:
    """A descriptor of the directory for what is kept, which only root can enter; raises OSError."""
    try:
        os.mkdir(QUARANTINE, 0o700, dir_fd=place)
    except FileExistsError:
        pass
    descriptor = os.open(QUARANTINE, OPEN_DIRECTORY, dir_fd=place)
    status = os.fstat(descriptor)
    if status.st_uid != 0 or status.st_mode & 0o077:
        raise PermissionError(0, f"{QUARANTINE} there is not root's alone")
    return descriptor


def _move(uid: int, place: int, name: str, into: int, new: str) -> str:
    """Move one entry; why not, or nothing.  Nothing is opened or followed: a rename is of the name itself."""
    if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid != uid:
        return "belongs to someone else now"
    os.rename(name, new, src_dir_fd=place, dst_dir_fd=into)
    if os.stat(new, dir_fd=into, follow_symlinks=False).st_uid == uid:
        return ""
    os.rename(new, name, src_dir_fd=into, dst_dir_fd=place)  # another's, put there meanwhile
    return "belongs to someone else now"
