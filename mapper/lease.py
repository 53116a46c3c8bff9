"""From an identity to an account that is its own: look, link, record, publish, look again, hand out.

The order is the protocol's.  A kill between any two steps leaves a state that the next mapping of the same
identity finishes, or refuses; the account is never another's:

- before the link: at most a claimed name.
- with the link, before the lease file: found again as a lease of unknown maker, and adopted, or refused where the
  site adopts none.
- with the lease file, before the record or the holder file: the same lease id is recorded and published.  A
  record of the same lease may then stand twice in the ledger, never not at all.
- between two links to one account and the taking back of the second: both are refused as corrupt until an
  administrator removes the one that nobody uses.
"""

from __future__ import annotations

import pwd

from gridwarden import pools, reasons
from gridwarden.errors import Refused
from gridwarden.mapper import accounts, bans, linking, names, naming, publishing
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from gridwarden.holders import Holder
    from gridwarden.mapper.accounts import Account, Users
    from gridwarden.mapper.bans import Ban
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.linking import Link
    from gridwarden.mapper.names import LeaseFile
    from gridwarden.mapper.site import SiteValues


class Lease(NamedTuple):
    """An account that an identity (``scheme``, ``subject``) may use now.

    ``lease_id`` is opaque (32 hex digits), ``name`` the lease's name in the gridmapdir (empty for a fixed
    account); ``created``: the link is new; ``adopted``: it was found, made by a program other than gridwarden.
    ``record`` is the ledger's sequence number and hash, where there was something to record: of its own record, or
    of the last one of all that were made durable together.  ``gid`` is that of the job, where the policy gives it one,
    and ``groups`` are the gids of the secondary groups that the policy gives.
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
    groups: tuple[int, ...] = ()


class Taken(NamedTuple):
    """A lease on its way: who for, what will be published of it, whether it is adopted now, and its link."""

    identity: Identity
    holder: Holder
    adopted: bool
    link: Link


def lease_from_pool(
    identity: Identity,
    pool: str,
    site: SiteValues,
    say: Callable[[str], None],
    users: Users = pwd,
    slot: int = 0,
    shown: Sequence[Identity] = (),
) -> Lease:
    """The account of ``pool`` that ``identity`` holds, or is lent now; one for each job ``slot`` that the site allows.

    ``shown`` are whatever identities the same person presents: a ban of any of them stops it.

    Raises Refused with the reason, EvidenceError when the lease cannot be recorded, Unavailable or ConfigurationError
    when a directory cannot be used; nothing is handed out then.
    """
    name = naming.name_of(identity, site.leases, slot)
    publishing.refuse_unready(site)
    users = accounts.UsersRemembered(users)
    with Gridmapdir(site.gridmapdir) as directory, claimed(directory, name, identity, site) as known:
        taken = take(directory, name, known, identity, pool, site, say, users, shown=shown)
        head = None
        if not publishing.is_published(taken.holder, site):  # else it is recorded too
            refuse_and_mark([identity, *shown], taken.holder.account, bans.in_force(site), site)
            head = publishing.record([taken[:3]], site)
            publishing.publish(taken.holder, site)
        return hand_out(directory, taken, head, bans.in_force(site), site, shown)


def claimed(
    directory: Gridmapdir, name: str, identity: Identity, site: SiteValues
) -> AbstractContextManager[LeaseFile | None]:
    """``names.claimed``; where the registry was lost, this machine's holder file still knows whose a lease is."""

    def refuse_holder() -> None:
        status = directory.look(name)
        holder = publishing.published_under(directory, name, status.st_ino, site) if status else None
        if holder and (holder.scheme, holder.subject) != (identity.scheme, identity.subject):
            raise names.collision(identity, f"{holder.scheme} {holder.subject}")

    return names.claimed(directory, name, identity, refuse_holder)


def take(  # noqa: PLR0913, PLR0917 - what a lease is made of
    directory: Gridmapdir,
    name: str,
    known: LeaseFile | None,
    identity: Identity,
    pool: str,
    site: SiteValues,
    say: Callable[[str], None],
    users: Users,
    probable: Iterable[str] | None = None,
    shown: Sequence[Identity] = (),
) -> Taken:
    """The link and the lease file under a claimed name, found or made; nothing may be handed out yet.

    ``known`` is what the claim gave; ``probable`` are accounts to try first.  Raises as ``lease_from_pool``.
    """
    link = linking.find(directory, name, known.account if known else None)
    if not link:
        if known:
            names.forget_lease(directory, name)
            known = None
        from gridwarden.mapper import lending  # noqa: PLC0415 - a lease is seldom new

        barred = lending.barred_to([identity, *shown], site, users)
        link = lending.lend(directory, name, pool, site, say, barred, probable)
    account = checked(link.account, pool, identity, users, known=known is not None and known.account == link.account)
    file, adopted = lease_file(known, link, name, identity, site)
    directory.touch(name)
    if file != known:
        directory.sync()
        names.write_lease(directory, name, file)
    say(f"{account.name} is {'lent' if link.created else 'held'} under the lease name {name}, lease {file.lease}")
    return Taken(identity, publishing.holder_of(identity, account, file, name), adopted, link)


def hand_out(
    directory: Gridmapdir,
    taken: Taken,
    head: tuple[int, str] | None,
    banned: Sequence[Ban],
    site: SiteValues,
    shown: Sequence[Identity] = (),
) -> Lease:
    """The lease, recorded and published, if it still stands and ``banned`` since then has neither its holder nor ``shown``.

    Raises Refused; a ban of the holder is then published to the hooks as well.  ``ban add`` writes the file before it
    marks the holders, so one of the two sees the other.
    """
    identity, holder, adopted, link = taken
    if not linking.is_still(directory, holder.name, link):
        raise linking.corrupt(directory, holder.name, "was changed by another program while it was handed out")
    refuse_and_mark([identity, *shown], holder.account, banned, site)
    account = (holder.account, holder.uid, holder.gid)
    return Lease(*account, holder.lease, holder.name, identity.scheme, identity.subject, link.created, adopted, head)


def checked(account: str, pool: str, identity: Identity, users: Users, *, known: bool = False) -> Account:
    """The user behind a leased account, which was theirs before if ``known``.

    Raises Refused when the lease is of another pool, or nobody may use the account.
    """
    if not pools.is_of_pool(account, pool):
        raise Refused(
            reasons.LEASE_IN_OTHER_POOL,
            f"{identity.subject} holds {account}, and the policy now says pool {pool}",
            "release that lease first, or correct the policy",
        )
    return accounts.usable(account, users, known=known)


def lease_file(
    known: LeaseFile | None, link: Link, name: str, identity: Identity, site: SiteValues
) -> tuple[LeaseFile, bool]:
    """The lease's id and time, and whether it is adopted now.

    A lease that was found is the one in its lease file, or else in its holder file, if that is of this link.  Raises
    Refused (lease-not-ours) for any other where the site does not adopt leases.
    """
    of_link = known if known and (known.account, known.inode) == (link.account, link.inode) else None
    if of_link and of_link.scheme:
        return of_link, False
    new = names.new_lease(link.account, link.inode, identity)
    if link.created:
        return new, False
    holder = publishing.holder_of_link(link, name, identity, site)
    if of_link:  # of a version that did not write whose it is
        return new._replace(lease=of_link.lease, since=of_link.since), False
    if holder:
        return new._replace(lease=holder.lease, since=holder.since), False
    if site.leases.adopted == "refuse":
        raise Refused(
            reasons.LEASE_NOT_OURS,
            f"nothing of ours says whose the lease {name} of {link.account} is, and leases.adopted is refuse",
            f"gridwarden lease release {link.account} ends it, unless jobs of its holder are left",
        )
    return new, True


def refuse_banned(identities: Iterable[Identity], banned: Sequence[Ban], account: str = "") -> None:
    """Raise Refused (banned) if a line of the ban files matches one of them, or the account that they would use."""
    for identity in identities:
        if ban := bans.banned(identity, banned, account):
            raise Refused(reasons.BANNED, f"{identity.subject} matches {ban.pattern} ({ban})")


def refuse_and_mark(identities: Iterable[Identity], account: str, banned: Sequence[Ban], site: SiteValues) -> None:
    """``refuse_banned`` of who would use an account; a holder whom hooks see there is told of a ban of their own.

    Nobody is published first who is banned: hooks would let jobs of the account start until it is taken back.
    """
    try:
        refuse_banned(identities, banned, account)
    except Refused:
        publishing.mark_banned(account, banned, site)
        raise
