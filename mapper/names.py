"""What gridwarden knows about a lease name beyond the link: whose it is, and the lease's id.

``.gridwarden/names/N`` holds the exact identity: its scheme, a newline, and the bytes of its subject.  It is
created once and never changed or removed, so the first identity to use a name keeps it for ever, and two
identities that are written alike (upper and lower case) can never share a lease.

``.gridwarden/leases/N`` holds the lease id, the account and inode that it was given for, and the time, as
``key<TAB>value`` lines.  It lets a lease keep its id when the holder files are gone (they are on tmpfs).  It
proves nothing by itself: it counts while the link N leads to that inode.  It is written under the lock of
``names/N``.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import reasons, tab_file
from gridwarden.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.identity import Identity

NAMES = "names"
LEASES = "leases"


class LeaseFile(NamedTuple):
    """``lease`` is 32 hex digits; ``since`` is when the lease was made or adopted, in µs since the epoch."""

    lease: str
    account: str
    inode: int
    since: int


def new_lease(account: str, inode: int) -> LeaseFile:
    """A lease that begins now, under a random id."""
    return LeaseFile(os.urandom(16).hex(), account, inode, time.time_ns() // 1000)


@contextmanager
def claimed(directory: Gridmapdir, name: str, identity: Identity) -> Iterator[None]:
    """Hold ``name`` for ``identity``, which has it for ever; other mappings of the same identity wait.

    Raises Refused (lease-name-collision) when the name is another's.
    """
    if not is_claimed(directory, name, identity) and not directory.create_own(NAMES, name, exact(identity)):
        is_claimed(directory, name, identity)  # by another, at the same moment
    with directory.lock_own(NAMES, name):
        yield


def is_claimed(directory: Gridmapdir, name: str, identity: Identity) -> bool:
    """Whether ``name`` is that of ``identity``; False when nobody has it; raises Refused when another does."""
    held = directory.read_own(NAMES, name)
    if held is None:
        return False
    if held != exact(identity):
        other = tab_file.escape(held.decode("utf-8", "surrogateescape").replace("\n", " ", 1))
        raise Refused(
            reasons.LEASE_NAME_COLLISION,
            f"{identity.scheme} {identity.subject} would have the lease name of {other}",
            "the names differ only in what a lease name cannot show, such as upper and lower case",
        )
    return True


def exact(identity: Identity) -> bytes:
    """The bytes by which the registry knows an identity."""
    return f"{identity.scheme}\n{identity.subject}".encode("utf-8", "surrogateescape")


def read_lease(directory: Gridmapdir, name: str) -> LeaseFile | None:
    """What is known of the lease ``name``; None when nothing is, or the file is not whole."""
    data = directory.read_own(LEASES, name)
    if not data:
        return None
    try:
        values = tab_file.decode(data)
        (lease,), (account,), (inode,), (since,) = map(values.__getitem__, LeaseFile._fields)
        return LeaseFile(lease, account, int(inode), int(since))
    except (ValueError, KeyError):
        return None


def write_lease(directory: Gridmapdir, name: str, lease: LeaseFile) -> None:
    """Make a lease's id durable, in place of what was known under that name."""
    directory.replace_own(LEASES, name, tab_file.encode([(key, str(value)) for key, value in lease._asdict().items()]))


def forget_lease(directory: Gridmapdir, name: str) -> None:
    """Remove what was known of a lease whose link is gone, so that the next one does not take its id."""
    directory.remove_own(LEASES, name)
