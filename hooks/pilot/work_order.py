"""A payload with all that is needed to run it, and how that comes to its guard, which was forked before it was known."""

from __future__ import annotations

import marshal
import os

from gridwarden import passing
from gridwarden.hooks.pilot.control_group import Group
from gridwarden.trusted import write_all
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from _socket import socket

PIECE = 1024 * 1024


class Work(NamedTuple):
    """A payload, with all that is needed to run it.

    ``groups`` are its supplementary groups, those that track it included.  ``service`` is that of PAM.  ``program``
    and ``directory`` are descriptors, opened and judged; ``arguments`` is the whole argv.  A ``script`` is executed by its ``path``, so that it can find itself, and anything else by descriptor.
    PAM's variables are added to ``environment``.  ``capabilities``: "none", or "pam" for those that PAM makes
    inheritable.  ``payload`` is its id.
    """

    account: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    service: str
    program: int
    path: bytes
    arguments: tuple[bytes, ...]
    directory: int
    environment: dict[bytes, bytes]
    no_new_privileges: bool
    capabilities: str
    control_group: bool
    grace_seconds: float
    same_account: bool
    payload: str
    script: bool = False


def send(end: socket, work: Work, group: Group | None) -> None:
    """Send the work, its descriptors, and the control group that it is for; raises OSError."""
    order = os.memfd_create("work")  # its arguments can be larger than a message
    try:
        write_all(order, marshal.dumps((tuple(work), group.path if group else "")))
        os.lseek(order, 0, os.SEEK_SET)
        passing.send(end, b"work", order, work.program, work.directory, *([group.directory] if group else []))
    finally:
        os.close(order)


def receive(end: socket) -> tuple[Work, Group | None] | None:
    """What was sent, with descriptors of this process's own; None when nothing will come any more."""
    message, descriptors = passing.receive(end)
    if not message:
        return None
    order, program, directory, *groups = descriptors
    data = bytearray()
    while part := os.read(order, PIECE):
        data += part
    os.close(order)
    values, path = marshal.loads(data)  # noqa: S302 - of the launcher itself
    work = Work(*values)._replace(program=program, directory=directory)
    return work, Group(path, groups[0]) if groups else None
