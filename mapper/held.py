"""A lease as it stands, whoever made it: found by its account or name, with its id and whom it was lent to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.errors import BadQuestion
from gridwarden.mapper import accounts, names, publishing

if TYPE_CHECKING:
    from gridwarden.mapper.accounts import Account, Users
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.linking import Link
    from gridwarden.mapper.site import SiteValues


class Held(NamedTuple):
    """A lease as it stands in the gridmapdir; ``scheme`` and ``subject`` are empty where nobody registered it."""

    name: str
    account: Account
    inode: int
    lease: str
    scheme: str
    subject: str


def name_of(directory: Gridmapdir, which: str) -> str:
    """The lease name (or cooling name) of an account, or ``which`` itself if it is one; raises BadQuestion."""
    status = directory.look(which) if which and "/" not in which else None
    if status is None:
        raise BadQuestion(f"the gridmapdir has no {which!r}", "gridwarden lease list shows what is leased")
    if not accounts.may_be_account(which):
        return which
    others = [name for name, inode in directory.entries() if inode == status.st_ino and name != which]
    if len(others) != 1:
        raise BadQuestion(f"{which} is {'leased more than once' if others else 'free'}", "gridwarden lease check")
    return others[0]


def lease_of(directory: Gridmapdir, name: str, link: Link, site: SiteValues, users: Users) -> Held:
    """What is known of the lease ``name``; one that another program made gets an id now.  Raises Refused."""
    account = accounts.usable(link.account, users)
    known = names.read_lease(directory, name)
    if known and (known.account, known.inode) == (link.account, link.inode):
        lease = known.lease
    else:
        holder = publishing.published(link.account, site)
        ours = holder and (holder.name, holder.inode) == (name, link.inode)
        lease = holder.lease if holder and ours else os.urandom(16).hex()
    if known and known.scheme:
        return Held(name, account, link.inode, lease, known.scheme, known.subject)
    exact = (directory.read_own(names.NAMES, name) or b"").decode("utf-8", "surrogateescape")
    scheme, _, subject = exact.partition("\n")
    return Held(name, account, link.inode, lease, scheme, subject)
