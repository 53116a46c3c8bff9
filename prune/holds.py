"""Accounts on hold for an incident: what they left in scratch is put away instead of deleted.

It goes into a directory that only root can enter, in the directory where it lay: no other file system, no copy.
That is ``.gridwarden-quarantine``, or where a user was there first the same with a random ending.
"""

from __future__ import annotations

import os
import stat
import time

from gridwarden import child, holds
from gridwarden.prune.files import OPEN_DIRECTORY

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.prune.files import Left

QUARANTINE = ".gridwarden-quarantine"
MOST_LOOKED_AT = 1000  # of names that begin like ours
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
    told = [os.fsdecode(line).partition("\n") for line in report.split(b"\0")[:-1]]
    moved = []
    left = []
    for name, (into, _, why) in zip(names, told, strict=False):
        if into:
            moved.append((f"{directory}/{name}", f"{directory}/{into}"))
        else:
            left.append((f"{directory}/{name}", why))
    left += [(f"{directory}/{name}", "not reached in time") for name in names[len(told) :]]
    return moved, left


def _mover(uid: int, account: str, directory: str, names: list[str], deadline: float) -> Callable[[int], None]:
    """Work that reports for each name where it is now, below ``directory``, a newline, why not, and a zero byte."""

    def work(report: int) -> None:
        try:
            place = os.open(directory, OPEN_DIRECTORY)
            quarantine, into = _open_quarantine(place)
        except OSError as error:
            os.write(report, f"\n{error.strerror}\0".encode() * len(names))
            return
        for name in names:
            new = f"{account}.{os.urandom(8).hex()}"
            try:
                why = _move(uid, place, name, into, new)
            except OSError as error:
                why = error.strerror or str(error)
            os.write(report, f"\n{why}\0".encode() if why else f"{quarantine}/{new}\n\0".encode())
            if time.monotonic() > deadline:
                return

    return work


def _open_quarantine(place: int) -> tuple[str, int]:
    """Name and descriptor of the directory for what is kept, which only root can enter; raises OSError."""
    if descriptor := _make(place, QUARANTINE) or _open_own(place, QUARANTINE):
        return QUARANTINE, descriptor
    looked_at = 0
    with os.scandir(place) as entries:  # ours has another name then, from an earlier run perhaps
        for entry in entries:
            if entry.name.startswith(f"{QUARANTINE}.") and looked_at < MOST_LOOKED_AT:
                looked_at += 1
                if descriptor := _open_own(place, entry.name):
                    return entry.name, descriptor
    name = f"{QUARANTINE}.{os.urandom(16).hex()}"
    descriptor = _make(place, name)
    if descriptor is None:
        raise FileExistsError(0, f"{name} was there already")
    return name, descriptor


def _make(place: int, name: str) -> int | None:
    """Make and open a directory that only root can enter; None when there is something of that name."""
    try:
        os.mkdir(name, 0o700, dir_fd=place)
    except FileExistsError:
        return None
    descriptor = _open_own(place, name)
    if descriptor is None:
        raise PermissionError(0, f"{name} is not root's alone, although it was made so")
    return descriptor


def _open_own(place: int, name: str) -> int | None:
    """Open a directory of root's that nobody else can enter, on the file system of ``place``; None for any other."""
    try:
        descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=place)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if status.st_uid == 0 and not status.st_mode & 0o077 and status.st_dev == os.fstat(place).st_dev:
        return descriptor
    os.close(descriptor)
    return None


def _move(uid: int, place: int, name: str, into: int, new: str) -> str:
    """Move one entry; why not, or nothing.  Nothing is opened or followed: a rename is of the name itself."""
    if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid != uid:
        return "belongs to someone else now"
    os.rename(name, new, src_dir_fd=place, dst_dir_fd=into)
    moved = os.stat(new, dir_fd=into, follow_symlinks=False)
    if moved.st_uid == uid:
        return ""
    # Another's, put there meanwhile.  It goes back, but not over a file that somebody made there since.
    if stat.S_ISDIR(moved.st_mode):
        os.rename(new, name, src_dir_fd=into, dst_dir_fd=place)
    else:
        os.link(new, name, src_dir_fd=into, dst_dir_fd=place, follow_symlinks=False)
        os.unlink(new, dir_fd=into)
    return "belongs to someone else now"
