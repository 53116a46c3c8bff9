"""What gridwarden's own files need of a machine: switches, node file, directories, ledger."""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

from gridwarden import install, ledger, node_file, off, tab_file, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks import switching
from gridwarden.hooks.doctor.finding import CRITICAL, NOTE, WARNING, Finding
from gridwarden.mapper import sharing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

INSTALL = "gridwarden config install"
ROOM = 64 * ledger.LONGEST_LINE  # less, and a burst of prologs would fill the disk


def switches() -> Iterator[Finding]:
    """Parts that are off, and switches that switch nothing."""
    for row in switching.listed():
        part, path = row["part"], off.path_of(str(row["part"]))
        if row["state"] == "ignored":
            yield Finding("switch-ignored", WARNING, f"{path} switches nothing off: {row['because']}", f"rm -rf {path}")
        elif row["state"] == "over":
            yield Finding("switch-over", NOTE, f"{part} was off until {row['until']}", f"gridwarden on {part}")
        else:
            until = f" until {row['until']}" if row["until"] else ""
            since = f" since {row['since']}" if row["since"] else ""
            detail = f"{part} is off{since}{until}, by {row['who']}: {row['because']}"
            yield Finding("switched-off", WARNING, detail, f"gridwarden on {part}" if since else f"rm -rf {path}")


def node_file_is_fresh(wanted: list[tuple[str, str]]) -> Iterator[Finding]:
    """Whether hooks read what site.yaml says now."""
    try:
        present = node_file.read()
    except ConfigurationError as error:
        yield Finding("node-file", CRITICAL, f"hooks do nothing: {error}", INSTALL)
        return
    asked = tab_file.decode(tab_file.encode(wanted))
    other = sorted(key for key in {*asked, *present} if asked.get(key) != present.get(key))
    if other:
        detail = f"{node_file.PATH} is older than site.yaml, or edited: {', '.join(other)}"
        yield Finding("node-file-old", WARNING, detail, INSTALL)


def directories(wanted: Sequence[tuple[Path, int, int]]) -> Iterator[Finding]:
    """Whether each directory (path, mode, gid) is there, and open to whom it should be."""
    for path, mode, group in wanted:
        try:
            descriptor = trusted.open_directory(path)
        except ConfigurationError as error:
            yield Finding("directory", CRITICAL, str(error), error.hint or INSTALL)
            continue
        status = os.fstat(descriptor)
        os.close(descriptor)
        if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) != (mode, 0, group):
            shown = f"mode {stat.S_IMODE(status.st_mode):04o}, uid {status.st_uid}, gid {status.st_gid}"
            yield Finding("directory", CRITICAL, f"{path} has {shown}; it needs {mode:04o}, 0, {group}", INSTALL)


def holders_are_local(holders: Path, runtime: Path) -> Iterator[Finding]:
    """Whether what hooks read is on this machine: a file server that is dead would hold them for ever."""
    try:
        mount = sharing.mount_of(holders)
    except OSError:
        return  # said of the directories
    if mount.kind not in install.LOCAL_FILE_SYSTEMS:
        below = os.path.join(mount.point, "").startswith(os.path.join(runtime, ""))
        remedy = (
            f"umount {shlex.quote(mount.point)} && {INSTALL}"
            if below
            else "set directories.runtime to a tmpfs of this machine"
        )
        detail = f"{holders} is on {mount.kind}: hooks may wait for another machine"
        yield Finding("holders-remote", CRITICAL, detail, remedy)


def ledger_can_be_written(directory: Path) -> Iterator[Finding]:
    """Whether there is room, and a way, to write the next record."""
    try:
        descriptor = trusted.open_directory(directory)
    except ConfigurationError:
        return  # said of the directories
    room = os.fstatvfs(descriptor)
    os.close(descriptor)
    if room.f_flag & os.ST_RDONLY:
        mount = sharing.mount_of(directory)
        remedy = f"mount -o {'remount,bind,rw' if 'ro' in mount.own else 'remount,rw'} {shlex.quote(mount.point)}"
        detail = f"{directory} is mounted read-only: nothing can be recorded"
        yield Finding("ledger-read-only", CRITICAL, detail, remedy)
    elif room.f_bfree * room.f_frsize < ROOM or (room.f_files and not room.f_ffree):
        detail = f"{directory} has room for {room.f_bfree * room.f_frsize} bytes and {room.f_ffree} files"
        point = shlex.quote(sharing.mount_of(directory).point)
        yield Finding("ledger-full", CRITICAL, detail, f"du -axh {point} | sort -rh | head -30")
