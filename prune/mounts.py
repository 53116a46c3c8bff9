"""Which mount something is on, and what is mounted in a directory, by proc(5): asked of no file system, so that none hangs."""

from __future__ import annotations

import os

ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\043", b"#"), (b"\\134", b"\\"))
MAKER = b"user_id="  # an option of FUSE: whose the file system is


def inside(directory: int) -> dict[str, int]:
    """The names below the descriptor ``directory`` on which something is mounted: name -> uid, of FUSE's, else 0."""
    path = os.readlink(b"/proc/self/fd/%d" % directory)
    with open("/proc/self/mountinfo", "rb") as table:
        lines = table.read().rstrip(b"\n").split(b"\n")  # a carriage return in a name is no end of a line
    found = {}
    for line in lines:
        before, _, after = line.partition(b" - ")
        point = before.split(b" ")[4]
        for escape, byte in ESCAPES if b"\\" in point else ():
            point = point.replace(escape, byte)
        parent, _, name = point.rpartition(b"/")
        if parent == path.rstrip(b"/"):
            makers = [option.removeprefix(MAKER) for option in after.split(b",") if option.startswith(MAKER)]
            found[os.fsdecode(name)] = int(makers[0]) if makers else 0
    return found


def mount_of(descriptor: int) -> bytes:
    """The kernel's number of the mount that a descriptor is on: bind mounts share st_dev, not this.

    Read as bytes: a child that has become the account may not be able to load a codec any more.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as info:
        return info.read(4096).partition(b"mnt_id:")[2].partition(b"\n")[0]
