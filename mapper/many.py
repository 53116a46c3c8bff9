"""Lease to many identities at once: the same steps as for one, with the costs that can be shared paid once.

A library call for whoever fills a pool in one go, as ``bench/gridmapdir.py`` does; no command needs it.

The users are read once, the directory once a pool, and what makes leases durable is done once for a few hundred
of them; of those nobody is handed anything before.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gridwarden.errors import Refused
from gridwarden.mapper import accounts, bans, candidates, lease, naming, publishing
from gridwarden.mapper.gridmapdir import Gridmapdir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.lease import Lease, Taken
    from gridwarden.mapper.site import SiteValues

AT_ONCE = 400  # each has a lock or two, which are open files


def lease_many(
    wanted: Iterable[tuple[Identity, str]], site: SiteValues, say: Callable[[str], None], users: Users | None = None
) -> dict[str, Lease | Refused]:
    """What ``lease_from_pool`` would give for each (identity, pool), by lease name, or its refusal.

    Raises EvidenceError, Unavailable or ConfigurationError as it does: nothing of the last few hundred was then
    handed out, and the next mapping of each finds what was left.
    """
    users = users or accounts.UsersReadOnce()
    by_name = {naming.name_of(identity, site.leases): (identity, pool) for identity, pool in wanted}
    todo = sorted(by_name)  # two who lease many at once then wait for each other's locks in the same order
    publishing.refuse_unready(site)
    found: dict[str, Lease | Refused] = {}
    with Gridmapdir(site.gridmapdir) as directory:
        free = {pool: free_accounts(directory, pool) for pool in {pool for _, pool in by_name.values()}}
        for start in range(0, len(todo), AT_ONCE):
            some = [(name, *by_name[name]) for name in todo[start : start + AT_ONCE]]
            found |= lease_some(directory, some, free, site, say, users)
    return found


def free_accounts(directory: Gridmapdir, pool: str) -> Iterator[str]:
    """The accounts of a pool that are free now, in random order, each given once."""
    survey = accounts.survey(directory.entries(), pool)
    candidates.remember(directory, pool, survey.names)
    random.shuffle(survey.free)
    return iter(survey.free)


def lease_some(
    directory: Gridmapdir,
    wanted: Sequence[tuple[str, Identity, str]],
    free: dict[str, Iterator[str]],
    site: SiteValues,
    say: Callable[[str], None],
    users: Users,
) -> dict[str, Lease | Refused]:
    """``lease_many`` for a few hundred (name, identity, pool) in the order of their names, under all their locks."""
    taken: dict[str, Taken] = {}
    found: dict[str, Lease | Refused] = {}
    with ExitStack() as locks:
        with directory.synced_once():
            for name, identity, pool in wanted:
                try:
                    known = locks.enter_context(lease.claimed(directory, name, identity, site))
                    taken[name] = lease.take(directory, name, known, identity, pool, site, say, users, free[pool])
                except Refused as refusal:
                    found[name] = refusal
        new: dict[str, Taken] = {}
        banned = bans.in_force(site)
        for name, one in taken.items():
            if not publishing.is_published(one.holder, site):
                try:
                    lease.refuse_and_mark([one.identity], one.holder.account, banned, site)
                    new[name] = one
                except Refused as refusal:
                    found[name] = refusal
        head = publishing.record([one[:3] for one in new.values()], site) if new else None
        for one in new.values():
            publishing.publish(one.holder, site)
        banned = bans.in_force(site)
        for name, one in taken.items():
            if name in found:
                continue
            try:
                found[name] = lease.hand_out(directory, one, head if name in new else None, banned, site)
            except Refused as refusal:
                found[name] = refusal
    return found
