"""Lend a free account of a pool to a lease name: a few throws, else one reading of the directory.

A pool that is nearly full is said so before it is full.  How full it is, only a reading can tell; so one is made
where the throws met as many taken accounts as a pool would show that is as full as the site wants to hear of.
"""

from __future__ import annotations

from gridwarden import holders, holds, reasons, syslog_line
from gridwarden.errors import Refused
from gridwarden.mapper import accounts, bans, candidates, linking

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.bans import Ban
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.linking import Link
    from gridwarden.mapper.site import SiteValues


def lend(
    directory: Gridmapdir,
    name: str,
    pool: str,
    site: SiteValues,
    say: Callable[[str], None],
    barred: Callable[[str], str],
    probable: Iterable[str] | None = None,
) -> Link:
    """A lease of ``pool`` under ``name``, of the first free account among ``probable`` or of any other.

    Without ``probable``, those that ``candidates`` throws.  ``barred`` says why an account may not be lent, or nothing.
    Raises Refused (pool-full).
    """
    probable = candidates.probable(directory, pool) if probable is None else probable
    link, misses = linking.try_probable(directory, name, probable, barred)
    if link is None:
        link, survey = linking.link_one(directory, name, pool, barred, say)
        warn_when_nearly_full(pool, survey.taken + link.created, survey.total, site, say)
    elif 100 * misses >= site.leases.warn_at_percent * (misses + 1):
        survey = accounts.survey(directory.entries(), pool)
        warn_when_nearly_full(pool, survey.taken, survey.total, site, say)
    return link


def barred_to(people: Sequence[Identity], site: SiteValues, users: Users) -> Callable[[str], str]:
    """``why_not`` for somebody who shows these identities, with the bans of now; raises ConfigurationError."""
    banned = bans.of_accounts(site)
    return lambda account: why_not(account, people, site, users, banned)


def why_not(account: str, people: Sequence[Identity], site: SiteValues, users: Users, banned: Sequence[Ban]) -> str:
    """Why a free account may not be lent to them, or nothing; raises Unavailable, ConfigurationError when it cannot be told.

    One that this machine still publishes as somebody's was taken from them behind our back: jobs and files of
    theirs may be left.  Why one is on hold is nothing for whoever asks for an account.
    """
    if holds.why_held(site.holds, account):
        return "it is on hold for an incident"
    if any(bans.banned(identity, banned, account) for identity in people):
        return "it is banned"
    try:
        accounts.usable(account, users)
        holders.read(site.holders, account)
    except Refused as refusal:
        return "" if refusal.reason == reasons.HOLDER_MISSING else refusal.detail
    return "its lease was removed by another program, its holder file was not"


def warn_when_nearly_full(pool: str, taken: int, total: int, site: SiteValues, say: Callable[[str], None]) -> None:
    """Say, to whoever asks why and to syslog, that a pool will be full soon."""
    percent = site.leases.warn_at_percent
    if 100 * taken >= percent * total:
        say(f"pool {pool} is nearly full: {taken} of {total} accounts are taken, {total - taken} are left")
        syslog_line.decision("pool", "nearly-full", pool=pool, taken=taken, total=total, warn_at_percent=percent)
