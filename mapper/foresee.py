"""What a mapping would give, without giving it: nothing is written, linked or recorded here."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

from gridwarden.mapper import (
    accounts,
    bans,
    fixed,
    job_groups,
    lease,
    lending,
    linking,
    mapping,
    names,
    naming,
    publishing,
)
from gridwarden.mapper.ban import identity_of
from gridwarden.mapper.globus_values import NOTHING
from gridwarden.mapper.gridmapdir import Gridmapdir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.globus_values import Brought
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.mapping import Presented
    from gridwarden.mapper.policy import Decision
    from gridwarden.mapper.site import SiteValues


def foresee(
    presented: Presented,
    site: SiteValues,
    say: Callable[[str], None],
    slot: int = 0,
    explain: list[str] | None = None,
) -> tuple[str, Decision]:
    """The account that ``map_credentials`` would give (empty while that is open), and what decides it; reads only.

    Raises as ``map_credentials`` would, where that can be foreseen.
    """
    brought = presented.globus._replace(look_only=True)
    identities = mapping.verified(presented, site, say)
    return foresee_identities(identities, site, say, slot=slot, explain=explain, brought=brought)


def foresee_identity(
    identity: Identity, site: SiteValues, say: Callable[[str], None], users: Users = pwd, slot: int = 0
) -> str:
    """The account that ``identity`` would have, or nothing while that is not decided; reads only."""
    return foresee_identities((identity,), site, say, users, slot)[0]


def foresee_identities(
    identities: Sequence[Identity],
    site: SiteValues,
    say: Callable[[str], None],
    users: Users = pwd,
    slot: int = 0,
    explain: list[str] | None = None,
    brought: Brought = NOTHING,
) -> tuple[str, Decision]:
    """``foresee`` for verified identities."""
    publishing.refuse_unready(site)
    decision = mapping.allowed(identities, site, say, explain, brought)
    job_groups.of(decision, site.leases.system_groups)
    people = mapping.everyone(identities, brought)
    if decision.kind == "account":
        holder = fixed.holder_of(decision.target, site, users)
        lease.refuse_banned([*people, identity_of(holder)], bans.in_force(site), holder.account)
        return holder.account, decision
    return foresee_lease(decision, people, site, say, users, slot), decision


def foresee_lease(
    decision: Decision,
    people: Sequence[Identity],
    site: SiteValues,
    say: Callable[[str], None],
    users: Users = pwd,
    slot: int = 0,
) -> str:
    """The account of the pool that the identity has, or nothing while it has none; reads only.

    ``people`` are all identities that are shown with it.
    """
    identity = decision.identity
    name = naming.name_of(identity, site.leases, slot)
    with Gridmapdir(site.gridmapdir) as directory:
        known = names.read_lease(directory, name)
        names.refuse_other(directory, name, identity, known)
        if link := linking.find(directory, name):
            say(f"{link.account} is held under the lease name {name}")
            account = lease.checked(link.account, decision.target, identity, users)
            lease.lease_file(known, link, name, identity, site)  # which may refuse it
            lease.refuse_banned(people, bans.in_force(site), account.name)
            return account.name
        survey = accounts.survey(directory.entries(), decision.target)
        barred = lending.barred_to(people, site, users)
        unusable = {
            account: why
            for account in survey.free
            if (why := barred(account) or linking.why_not_free(directory, account))
        }
        numbers = linking.numbers(decision.target, survey, unusable)
    if len(unusable) == len(survey.free):
        raise linking.full(numbers)
    say(f"nothing is held under the lease name {name}; {numbers}, one of the others would be lent")
    return ""
