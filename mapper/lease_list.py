"""What is leased, as rows to show: every lease of the directory, whoever made it, and every cooling account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.mapper.check_links import is_of_lease_file
from gridwarden.mapper.directory_view import by_inode, cooling_parts, pool_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.mapper.directory_view import Names, Seen

HELD = "held"
FOREIGN = "foreign"
COOLING = "cooling"
FAULTY = "faulty"


class Row(NamedTuple):
    """One lease.  ``since`` and ``used`` are in µs since the epoch, None when unknown.

    ``state`` is held; foreign (made by another program, so ``subject`` is not proven, and only the name decoded where
    the registry has none); cooling; or faulty (``gridwarden lease check`` says why).
    """

    account: str
    pool: str
    state: str
    scheme: str
    subject: str
    lease: str
    since: int | None
    used: int
    name: str


def rows(seen: Seen) -> list[Row]:
    """All leases by account."""
    found = (row for names in by_inode(seen.files) for name in names.others for row in [row_of(name, names, seen)])
    return sorted(found)


def row_of(name: str, names: Names, seen: Seen) -> Row:
    """The row of one lease or cooling name."""
    account = names.accounts[0] if len(names.accounts) == 1 else ""
    file = seen.leases.get(name)
    lease: str | None = None
    since: int | None = None
    lease_name, state = name, FAULTY
    if cold := seen.cold.get(name):
        lease_name, lease, since = cold.name, cold.lease, cold.since or None
    elif name in names.cooling:
        lease_name, lease = "", cooling_parts(name)[1]
    elif file and is_of_lease_file(name, account, names.inode, seen):
        lease, since = file.lease, file.since
    if account and names.links == 2:
        state = COOLING if name in names.cooling else HELD if lease else FOREIGN
    exact = seen.claims.get(lease_name, b"").decode("utf-8", "surrogateescape")
    scheme, _, subject = exact.partition("\n") if exact else ("", "", decoded(lease_name))
    if not exact and file and file.scheme:
        scheme, subject = file.scheme, file.subject
    used = seen.files[name].used
    return Row(account, pool_of(account, seen.pools), state, scheme, subject, lease or "", since, used, lease_name)


def decoded(name: str) -> str:
    """What a lease name says of an identity, in lower case; the name itself where it is a hash."""
    return re.sub("%([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), name)


def matching(which: str, all_rows: Iterable[Row]) -> list[Row]:
    """The leases that an account, a subject, a lease id or a lease name stands for."""
    return [row for row in all_rows if which and which in (row.account, row.subject, row.lease, row.name)]
