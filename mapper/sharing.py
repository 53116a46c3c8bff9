"""What sharing a gridmapdir risks: who else can write in it, as far as this machine can tell.

Whoever writes there decides who is who.  Judged are this machine's mount (proc(5), mountinfo) and, where this
machine is the NFS server, its exports (exportfs(8), /var/lib/nfs/etab).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.errors import ConfigurationError
from gridwarden.install import LOCAL_FILE_SYSTEMS
from gridwarden.mapper.gridmapdir import Gridmapdir

if TYPE_CHECKING:
    from pathlib import Path

EXPORTS = "/var/lib/nfs/etab"
EXPORT = re.compile(r"(?P<path>\S+)\s+(?P<client>[^(\s]+)\((?P<options>[^)]*)\)")


class Risk(NamedTuple):
    """What is risky, in a word and in a sentence, and what to do."""

    kind: str
    detail: str
    remedy: str


class Mount(NamedTuple):
    """A mounted file system: its type as the kernel names it, all options, those of the mount alone, and where it is."""

    kind: str
    options: frozenset[str]
    own: frozenset[str] = frozenset()
    point: str = "/"


class Export(NamedTuple):
    """A directory that this machine lets ``client`` mount."""

    path: str
    client: str
    options: frozenset[str]


def find(path: Path) -> list[Risk]:
    """The risks of the gridmapdir ``path`` on this machine; raises OSError when it is not there."""
    found = risks(os.fspath(path), mount_of(path), exports(EXPORTS), writable=os.access(path, os.W_OK))
    try:
        with Gridmapdir(path):
            pass
    except ConfigurationError as error:
        found.append(Risk("written-by-others", str(error), error.hint))
    return found


def risks(path: str, mount: Mount, exported: list[Export], *, writable: bool) -> list[Risk]:
    """What the mount and the exports risk; pure."""
    found = []
    if mount.kind not in LOCAL_FILE_SYSTEMS and "ro" not in mount.options:
        if writable:
            detail = (
                f"{path} is on {mount.kind}, and root here can write in it: whoever becomes root here has every account"
            )
            found.append(
                Risk("writable-here", detail, "if this machine does not map, export it read-only to this machine")
            )
        else:
            detail = f"{path} is on {mount.kind}, and root here is squashed: nothing can be lent from this machine"
            found.append(
                Risk("squashed-here", detail, "if it maps, export with no_root_squash to it alone; else read-only")
            )
    for export in exported:
        inside = (path + "/").startswith(export.path.rstrip("/") + "/")
        if inside and {"rw", "no_root_squash"} <= export.options:
            detail = f"{export.path} is exported writable to root on {export.client}, who can lend itself every account"
            found.append(
                Risk("exported-writable", detail, "export it so to the machines that map alone, to others read-only")
            )
    return found


def mount_of(path: Path) -> Mount:
    """The mount that ``path`` is on; raises OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            number = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            before, _, after = line.rstrip("\n").partition(" - ")
            fields, system = before.split(" "), after.split(" ")
            if fields[0] == number:
                own = frozenset(fields[5].split(","))
                return Mount(system[0], own.union(system[2].split(",")), own, unescaped(fields[4]))
    return Mount("", frozenset())


def exports(etab: str) -> list[Export]:
    """What this machine exports; nothing where it is no NFS server."""
    try:
        with open(etab, encoding="utf-8", errors="surrogateescape") as lines:
            matches = [EXPORT.match(line) for line in lines]
    except FileNotFoundError:
        return []
    return [
        Export(unescaped(match["path"]), match["client"], frozenset(match["options"].split(",")))
        for match in matches
        if match
    ]


def unescaped(path: str) -> str:
    """A path of etab, in which blanks and other odd bytes stand as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
