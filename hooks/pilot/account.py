"""The account that a payload runs as: who its owner is, what the site leases them, and whether payloads may have it."""

from __future__ import annotations

import os
import pwd

from gridwarden import holders, pools, reasons
from gridwarden.errors import Refused
from gridwarden.mapper import bans, job_groups, lease, mapping
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gridwarden.hooks.pilot.callers import Pilot
    from gridwarden.hooks.pilot.credentials import People
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.job_groups import JobGroups
    from gridwarden.mapper.pilot_values import PilotValues
    from gridwarden.mapper.site import SiteValues


class Target(NamedTuple):
    """Whom a payload runs as: ``owner`` is the identity that it is for, ``lease`` its lease id.

    ``also`` is whom the other of two credentials names, None where one alone was shown: proxy and token of one person
    have different subjects, and nobody can tell them from those of two.
    ``groups`` are the supplementary groups, those that track the batch job included.  ``same``: it is the pilot's own
    work, or its own account, and nothing of who it is changes.
    """

    entry: pwd.struct_passwd
    gid: int
    groups: tuple[int, ...]
    owner: Identity
    lease: str
    also: Identity | None = None
    same: bool = False

    @property
    def account(self) -> str:
        """The account's name."""
        return self.entry.pw_name

    @property
    def uid(self) -> int:
        """The account's uid."""
        return self.entry.pw_uid


def of(people: People, pilot: Pilot, site: SiteValues) -> Target:
    """The account for the payload's owner, leased now; the pilot's where the owner is the pilot, who has one.

    Raises as ``mapping.map_identities``, and Refused for an account that no payload may have.
    """
    lease.refuse_banned(people.pilot, bans.in_force(site), pilot.account)
    if is_own(people):
        mapping.allowed(people.owner, site, mapping.silent)
        return own(people, pilot)
    found = mapping.map_identities(people.owner, site, mapping.silent)
    owner = next(one for one in people.owner if (one.scheme, one.subject) == (found.scheme, found.subject))
    groups = job_groups.JobGroups(found.gid, found.groups)
    return as_account(found.account, groups, people, owner, found.lease_id, pilot, site)


def as_account(
    account: str, groups: JobGroups, people: People, owner: Identity, lease_id: str, pilot: Pilot, site: SiteValues
) -> Target:
    """The payload of ``owner`` in an account of theirs, with the groups of a decision; raises Refused."""
    entry = pwd.getpwnam(account)
    if entry.pw_uid == pilot.uid:
        return own(people, pilot, owner, lease_id)
    gid = entry.pw_gid if groups.primary is None else groups.primary
    accounts = os.getgrouplist(account, gid)
    judge(account, entry.pw_uid, (gid, *accounts, *groups.secondary), site)
    every = tuple(dict.fromkeys((*accounts, *groups.secondary, *tracking(pilot.groups, site.pilot))))
    return Target(entry, gid, every, owner, lease_id, other(people, owner))


def own(people: People, pilot: Pilot, owner: Identity | None = None, lease_id: str = "") -> Target:
    """The payload in the account that calls: the pilot's own work, or that of an ``owner`` whose account it is."""
    owner = owner or people.owner[0]
    entry = pwd.getpwnam(pilot.account)
    return Target(entry, pilot.gid, pilot.groups, owner, lease_id, other(people, owner), same=True)


def other(people: People, owner: Identity) -> Identity | None:
    """Whom the owner's other credential names, if there are two."""
    return next((one for one in people.owner if (one.scheme, one.subject) != (owner.scheme, owner.subject)), None)


def is_own(people: People) -> bool:
    """Whether the payload is the pilot's own: the same identity that the pilot itself shows."""
    own = {(one.scheme, one.subject) for one in people.pilot}
    return bool(own) and all((one.scheme, one.subject) in own for one in people.owner)


def tracking(groups: Sequence[int], pilot: PilotValues) -> list[int]:
    """Those of a pilot's groups by which a batch system finds the processes of a job."""
    first, last = pilot.tracking_groups
    return [gid for gid in groups if first <= gid <= last]


def judge(account: str, uid: int, gids: Collection[int], site: SiteValues) -> None:
    """Refuse an account that no payload may have, or one with such a group."""
    pilot = site.pilot
    if account not in pilot.accounts and not any(pools.is_of_pool(account, pool) for pool in site.pools):
        raise Refused(reasons.ACCOUNT_OUTSIDE_POOLS, f"{account} is of no pool, and none of pilot.accounts")
    if uid < max(pilot.minimum_uid, 1):
        raise Refused(reasons.UID_TOO_LOW, f"{account} has uid {uid}, below {pilot.minimum_uid}")
    low = {gid for gid in gids if gid < pilot.minimum_gid}
    if low and (0 in low or not low <= _gids(site.leases.system_groups)):
        shown = " and ".join(map(str, sorted(low)))
        raise Refused(reasons.GID_TOO_LOW, f"{account} is in group {shown}, below {pilot.minimum_gid}")


def confirm(target: Target, site: SiteValues) -> None:
    """Refuse an account that was taken back, or whose holder was banned, before the payload stood in the register.

    From then on nobody takes it back.
    """
    if target.same:
        return
    holder = holders.read(site.holders, target.account)
    if holder.verdict == holders.BANNED:
        raise Refused(reasons.BANNED, f"{target.account}: {holder.because}")
    if holder.lease != target.lease:
        raise Refused(reasons.HOLDER_INVALID, f"{target.account} was released while the payload was prepared")


def _gids(names: Sequence[str]) -> set[int]:
    import grp  # noqa: PLC0415 - only for an account in such a group

    found = set()
    for name in names:
        try:
            found.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return found
