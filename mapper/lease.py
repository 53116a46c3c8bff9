"""From an identity to an account that is its own: look, link, record, publish, look again, hand out.

The order is the protocol's.  A kill between any two steps leaves a state that the next mapping of the same
identity finishes, or refuses; the account is never another's:

- before the link: at most a claimed name.
- with the link, before the lease file: found again as a lease of unknown maker, and adopted.
- with the lease file, before the record or the holder file: the same lease id is recorded and published.  A
  record of the same lease may then stand twice in the ledger, never not at all.
- between two links to one account and the taking back of the second: both are refused as corrupt until an
  administrator removes the one that nobody uses.

A fixed account has no link.  Several people may be mapped to it, and nobody can tell apart what runs under one
uid; so its holder file names the account itself (scheme ``local``), its lease id is the same on every host, and
each mapping is recorded: the ledger says who could have been behind it.
"""

from __future__ import annotations

import os
import pwd
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, ledger, reasons, trusted
from gridwarden.errors import EvidenceError, Refused, Unavailable
from gridwarden.holders import Holder
from gridwarden.mapper import accounts, bans, linking, names, naming, policy
from gridwarden.mapper.gridmapdir import Gridmapdir

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.mapper.accounts import Account, Users
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.linking import Link
    from gridwarden.mapper.names import LeaseFile
    from gridwarden.mapper.site import SiteValues


class Lease(NamedTuple):
    """An account that an identity (``scheme``, ``subject``) may use now.

    ``lease_id`` is opaque (32 hex digits), ``name`` the lease's name in the gridmapdir (empty for a fixed
    account); ``created``: the link is new; ``adopted``: it was found, made by a program other than gridwarden.
    ``record`` is the ledger's sequence number and hash, where there was something to record.
    """

    account: str
    uid: int
    gid: int
    lease_id: str
    name: str
    scheme: str
    subject: str
    created: bool
    adopted: bool
    record: tuple[int, str] | None


def lease_from_pool(
    identity: Identity, pool: str, site: SiteValues, say: Callable[[str], None], users: Users = pwd, slot: int = 0
) -> Lease:
    """The account of ``pool`` that ``identity`` holds, or is lent now; one for each job ``slot`` that the site allows.

    Raises Refused with the reason, EvidenceError when the lease cannot be recorded, Unavailable or
    ConfigurationError when a directory cannot be used; nothing is handed out then.
    """
    name = naming.name_of(identity, site.leases, slot)
    refuse_unready(site)
    with Gridmapdir(site.gridmapdir) as directory, names.claimed(directory, name, identity):
        known = names.read_lease(directory, name)
        link = linking.find(directory, name, known.account if known else None)
        if not link:
            if known:
                names.forget_lease(directory, name)
                known = None
            link = linking.link_one(directory, name, pool, lambda account: why_not(account, site, users), say)
        account = checked(link.account, pool, identity, users)
        directory.touch(name)
        file, adopted = lease_file(known, link, name, site)
        if file != known:
            directory.sync()
            names.write_lease(directory, name, file)
        say(f"{account.name} is {'lent' if link.created else 'held'} under the lease name {name}, lease {file.lease}")
        holder = holder_of(identity, account, file, name)
        head = None
        if not is_published(holder, site):  # else it is recorded too
            head = record(identity, holder, site, adopted=adopted)
            publish(holder, site)
        if not linking.is_still(directory, name, link):
            raise linking.corrupt(directory, name, "was changed by another program while it was handed out")
        refuse_banned_since(identity, site, holder)
    return Lease(*account, file.lease, name, identity.scheme, identity.subject, link.created, adopted, head)


def fixed_account(identity: Identity, name: str, site: SiteValues, users: Users = pwd) -> Lease:
    """The fixed account ``name`` for ``identity``, beside anybody else who is mapped to it; raises Refused."""
    refuse_unready(site)
    account = accounts.usable(name, users)
    holder = Holder(
        account=account.name,
        uid=account.uid,
        gid=account.gid,
        lease=sha256(f"{site.site}\n{account.name}".encode()).hexdigest()[:32],
        name="",
        scheme="local",
        subject=account.name,
        vo=policy.vo_of_account(name, site.rules),
        fqans=(),
        since=0,
        inode=0,
    )
    head = record(identity, holder, site, adopted=False)
    if not is_published(holder, site):
        publish(holder, site)
    refuse_banned_since(identity, site)
    return Lease(*account, holder.lease, "", identity.scheme, identity.subject, False, False, head)  # noqa: FBT003 - fields


def refuse_unready(site: SiteValues) -> None:
    """Raise ConfigurationError or EvidenceError when a lease could be made but not recorded or published."""
    os.close(trusted.open_directory(site.holders))
    descriptor = trusted.open_directory(site.ledger)
    try:
        room = os.fstatvfs(descriptor)
        if room.f_bfree * room.f_frsize < ledger.LONGEST_LINE:
            raise EvidenceError(f"{site.ledger}: the disk is full, so no lease can be recorded", "free space there")
    finally:
        os.close(descriptor)


def why_not(account: str, site: SiteValues, users: Users) -> str:
    """Why a free account may not be lent, or nothing.

    One that this machine still publishes as somebody's was taken from them behind our back: jobs and files of
    theirs may be left.
    """
    try:
        accounts.usable(account, users)
        holders.read(site.holders, account)
    except Refused as refusal:
        return "" if refusal.reason == reasons.HOLDER_MISSING else refusal.detail
    return "its lease was removed by another program, its holder file was not"


def checked(account: str, pool: str, identity: Identity, users: Users) -> Account:
    """The user behind a leased account; raises Refused when the lease is of another pool, or nobody may use it."""
    if not accounts.is_of_pool(account, pool):
        raise Refused(
            reasons.LEASE_IN_OTHER_POOL,
            f"{identity.subject} holds {account}, and the policy now says pool {pool}",
            "release that lease first, or correct the policy",
        )
    return accounts.usable(account, users)


def lease_file(known: LeaseFile | None, link: Link, name: str, site: SiteValues) -> tuple[LeaseFile, bool]:
    """The lease's id and time, and whether it is adopted now.

    A lease that was found is the one in its lease file, or else in its holder file, if that is of this link.
    """
    if link.created:
        return names.new_lease(link.account, link.inode), False
    if known and (known.account, known.inode) == (link.account, link.inode):
        return known, False
    holder = published(link.account, site)
    if holder and (holder.name, holder.inode) == (name, link.inode):
        return names.LeaseFile(holder.lease, link.account, link.inode, holder.since), False
    return names.new_lease(link.account, link.inode), True


def holder_of(identity: Identity, account: Account, file: LeaseFile, name: str) -> Holder:
    """What the holder file of a leased account says."""
    return Holder(
        account=account.name,
        uid=account.uid,
        gid=account.gid,
        lease=file.lease,
        name=name,
        scheme=identity.scheme,
        subject=identity.subject,
        vo=identity.vo,
        fqans=identity.fqans,
        since=file.since,
        inode=file.inode,
    )


def record(identity: Identity, holder: Holder, site: SiteValues, *, adopted: bool) -> tuple[int, str]:
    """Append the evidence that ``identity`` may use the account; raises EvidenceError."""
    fields: dict[str, str | int | None] = {
        "account": holder.account,
        "uid": holder.uid,
        "lease": holder.lease,
        "name": holder.name,
        "scheme": identity.scheme,
        "subject": identity.subject,
        "vo": identity.vo,
        "fqans": " ".join(identity.fqans),
        "credential": identity.credential,
        "adopted": int(adopted),
    }
    return ledger.append(site.ledger, "lease", fields, node=site.node, cluster=site.cluster)


def publish(holder: Holder, site: SiteValues) -> None:
    """Write the holder file; raises Unavailable, ConfigurationError."""
    try:
        holders.publish(site.holders, holder, site.holders_group)
    except OSError as error:
        raise Unavailable(
            f"{site.holders}/{holder.account}: cannot be written: {error.strerror}", "nothing was handed out"
        ) from error


def published(account: str, site: SiteValues) -> Holder | None:
    """The holder file of an account, if there is one that can be trusted."""
    try:
        return holders.read(site.holders, account)
    except Refused:
        return None


def is_published(holder: Holder, site: SiteValues) -> bool:
    """Whether the holder file says exactly this."""
    found = published(holder.account, site)
    return found is not None and found.pairs() == holder.pairs()


def refuse_banned(identity: Identity, site: SiteValues) -> None:
    """Raise Refused (banned) if a line of the ban files matches, ConfigurationError if they cannot be read."""
    if ban := bans.banned(identity.subject, identity.fqans, bans.read(site.bans)):
        raise Refused(reasons.BANNED, f"{identity.subject} matches {ban.pattern} ({ban})")


def refuse_banned_since(identity: Identity, site: SiteValues, holder: Holder | None = None) -> None:
    """Look at the bans once more, and publish a ban that came since the first look to the hooks as well.

    ``ban add`` writes the file before it marks the holders, so one of the two sees the other.
    """
    try:
        refuse_banned(identity, site)
    except Refused as refusal:
        if holder:
            holder.verdict, holder.because = holders.BANNED, refusal.detail
            publish(holder, site)
        raise
