"""What gridwarden knows about a lease name beyond the link: whose it is, and the lease's id.

``.gridwarden/names/N`` holds the exact identity: its scheme, a newline, and the bytes of its subject.  It is
created once and never changed or removed, so the first identity to use a name keeps it for ever, and two
identities that are written alike (upper and lower case) can never share a lease.

``.gridwarden/leases/N`` holds the lease id, the account and inode that it was given for, the time, and once more
whose it is, as ``key<TAB>value`` lines.  It lets a lease keep its id when the holder files are gone (they are on
tmpfs), and a look-up read one file of the two.  It proves no lease by itself: it counts while the link N leads to
that inode.  It is written under the lock of ``names/N``, by who has N; so it says another identity only where
somebody removed or wrote ``names/N``, and then the one who is not in it is refused.
"""

from __future__ import annotations

import os
import time

from gridwarden import reasons, tab_file
from gridwarden.contexts import ExitStack, contextmanager
from gridwarden.errors import Refused
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.identity import Identity

NAMES = "names"
LEASES = "leases"
HEX = frozenset("0123456789abcdef")


class LeaseFile(NamedTuple):
    """``lease`` is 32 hex digits; ``since`` is when the lease was made or adopted, in µs since the epoch.

    ``scheme`` and ``subject`` are the identity's, ``vo`` and ``fqans`` (with blanks between them) those when the lease
    began; empty in files of versions that did not write them.
    """

    lease: str
    account: str
    inode: int
    since: int
    scheme: str = ""
    subject: str = ""
    vo: str = ""
    fqans: str = ""


def new_lease(account: str, inode: int, identity: Identity) -> LeaseFile:
    """A lease that begins now, under a random id."""
    lease, now = os.urandom(16).hex(), time.time_ns() // 1000
    return LeaseFile(
        lease, account, inode, now, identity.scheme, identity.subject, identity.vo, " ".join(identity.fqans)
    )


@contextmanager
def claimed(
    directory: Gridmapdir, name: str, identity: Identity, refuse_holder: Callable[[], None]
) -> Iterator[LeaseFile | None]:
    """Hold ``name`` for ``identity``, which has it for ever; other mappings of the same identity wait.

    Gives what is known of its lease.  Raises Refused (lease-name-collision) when the name is another's; a name of
    which the registry says nothing, since it is new or was lost, is asked about with ``refuse_holder`` first.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(directory.lock_own(NAMES, name))
        except FileNotFoundError:
            refuse_other(directory, name, identity, read_lease(directory, name))  # where the registry was lost
            refuse_holder()
            directory.create_own(NAMES, name, exact(identity))  # unless another did at the same moment
            stack.enter_context(directory.lock_own(NAMES, name))
            if directory.look(name):  # a release has no other to lock, before that
                stack.enter_context(directory.lock_kind(NAMES, shared=True))
        known = read_lease(directory, name)
        refuse_other(directory, name, identity, known)
        yield known


@contextmanager
def locked(directory: Gridmapdir, name: str) -> Iterator[None]:
    """Hold ``name`` against every mapping and release, whoever's it is; waits for them.

    Of a name that only other programs know, there is nothing of ours to lock; so all such names are, against mappings
    that register theirs.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(directory.lock_own(NAMES, name))
        except FileNotFoundError:
            stack.enter_context(directory.lock_kind(NAMES, shared=False))
            if directory.read_own(NAMES, name) is not None:  # registered meanwhile, by who wants both locks
                stack.close()
                stack.enter_context(directory.lock_own(NAMES, name))
        yield


def refuse_other(directory: Gridmapdir, name: str, identity: Identity, known: LeaseFile | None) -> None:
    """Raise Refused (lease-name-collision) when ``name`` is not that of ``identity``, nor nobody's."""
    if known and known.scheme:
        if (known.scheme, known.subject) != (identity.scheme, identity.subject):
            raise collision(identity, f"{known.scheme} {known.subject}")
        return
    held = directory.read_own(NAMES, name)
    if held is not None and held != exact(identity):
        raise collision(identity, held.decode("utf-8", "surrogateescape").replace("\n", " ", 1))


def collision(identity: Identity, other: str) -> Refused:
    """The refusal of an identity whose lease name is that of ``other``."""
    return Refused(
        reasons.LEASE_NAME_COLLISION,
        f"{identity.scheme} {identity.subject} would have the lease name of {tab_file.escape(other)}",
        "the names differ only in what a lease name cannot show, such as upper and lower case",
    )


def exact(whose: Identity | LeaseFile) -> bytes:
    """The bytes by which the registry knows an identity."""
    return f"{whose.scheme}\n{whose.subject}".encode("utf-8", "surrogateescape")


def read_lease(directory: Gridmapdir, name: str) -> LeaseFile | None:
    """What is known of the lease ``name``; None when nothing is, or the file is not whole."""
    data = directory.read_own(LEASES, name)
    if not data:
        return None
    try:
        values = tab_file.decode(data)
        (lease,), (account,), (inode,), (since,) = map(values.__getitem__, LeaseFile._fields[:4])
        (scheme,), (subject,), (vo,), (fqans,) = (values.get(field, ("",)) for field in LeaseFile._fields[4:])
        if not (HEX.issuperset(lease) and len(lease) == 32 and all(len(one) < 20 for one in (inode, since))):
            return None
        return LeaseFile(lease, account, int(inode), int(since), scheme, subject, vo, fqans)
    except (ValueError, KeyError):
        return None


def write_lease(directory: Gridmapdir, name: str, lease: LeaseFile) -> None:
    """Make a lease's id durable, in place of what was known under that name."""
    directory.replace_own(LEASES, name, tab_file.encode([(key, str(value)) for key, value in lease._asdict().items()]))


def forget_lease(directory: Gridmapdir, name: str) -> None:
    """Remove what was known of a lease whose link is gone, so that the next one does not take its id."""
    directory.remove_own(LEASES, name)
