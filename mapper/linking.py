"""Look for the lease of a name, or link a free account to it, beside any number of others who do the same.

The state of an account is its link count: 1 free, 2 leased.  Whoever finds more than two links after making
one has met another who took the same account at the same moment.  LCMAPS, Argus and gss-assist take their link back
at once and refuse; then ours is good, so it waits a little, and is taken back only when the other's stays, which is
another gridwarden's.  Nobody ever keeps an account that two have linked.  A link that was good is never taken back
here: another program that maps the same person may already have handed it out.

Nor is one whose answer was lost.  A mark made before the link (a time on ``names/N``, a hidden link) would not tell
it from LCMAPS's: that may link the same account under the same name after the mark, and hand it out; and a hidden
link that is renamed into place either replaces LCMAPS's lease of that moment (NFS knows no RENAME_NOREPLACE) or
makes three links of one lease for a moment, in which LCMAPS unlinks it.  So such a link waits for a person.
"""

from __future__ import annotations

import stat
import time

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import accounts
from gridwarden.mapper.own_files import CHECK
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gridwarden.mapper.gridmapdir import Gridmapdir

LOOKS = 20
LONGEST_PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 0.002, 0.01  # LCMAPS has taken its link back long before


class Link(NamedTuple):
    """A lease: the account, the inode that its file and the lease name share, and whether it is of our making."""

    account: str
    inode: int
    created: bool


def find(directory: Gridmapdir, name: str, probably: str | None = None) -> Link | None:
    """The lease ``name``, whoever made it (``probably`` of that account); None when there is none.

    Raises Refused (lease-corrupt) when the name is no lease of exactly one account.  A third link is waited
    for, since it is usually another's who is about to take it back.
    """
    links = 0
    for _ in range(LOOKS):
        status = directory.look(name)
        if status is None:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise corrupt(directory, name, "is not a regular file")
        links = status.st_nlink
        if links == 1:
            raise corrupt(directory, name, "leads to no account, whose file was probably removed")
        if links == 2 and (account := accounts.account_of(directory, status.st_ino, probably)):
            return Link(account, status.st_ino, created=False)
        pause()
    if links == 2:
        raise corrupt(directory, name, "and another name lead to one inode, but none of the two is an account")
    raise corrupt(directory, name, f"leads to an inode with {links} links, so its account may be another's too")


def try_probable(
    directory: Gridmapdir, name: str, probable: Iterable[str], why_not: Callable[[str], str]
) -> tuple[Link | None, int]:
    """Lease the first account of ``probable`` that is free, and count those before it that were not."""
    misses = 0
    for account in probable:
        if not why_not_free(directory, account) and not why_not(account):
            if link := try_account(directory, account, name):
                return link, misses
            pause()
        misses += 1
    return None, misses


def link_one(
    directory: Gridmapdir, name: str, pool: str, why_not: Callable[[str], str], say: Callable[[str], None]
) -> tuple[Link, accounts.Survey]:
    """Lease a free account of ``pool`` to ``name``, found by reading the directory; or follow who was faster.

    Returns what was read, too.  ``why_not`` says why a free account may not be lent, or nothing.  Raises Refused
    (pool-full) with the numbers, once several passes in a row have found nothing: what looks taken may be two others'
    passing try.
    """
    import random  # noqa: PLC0415 - loads hashlib, for which an old lease has no use

    from gridwarden.mapper import candidates  # noqa: PLC0415 - as above

    barren = 0
    unusable: dict[str, str] = {}
    while True:
        barren += 1
        survey = accounts.survey(directory.entries(), pool)
        candidates.remember(directory, pool, survey.names)
        random.shuffle(survey.free)
        not_free = {}
        for account in survey.free:
            if account in unusable:
                continue
            if reason := why_not(account):
                unusable[account] = reason
            elif reason := why_not_free(directory, account):
                not_free[account] = reason
            elif link := try_account(directory, account, name):
                return link, survey
            else:
                barren = 0
                say(f"{account} was taken by another at the same moment; trying the next")
                pause()
        if barren > LOOKS // 2:
            raise full(numbers(pool, survey, unusable | not_free))
        pause()


def why_not_free(directory: Gridmapdir, account: str) -> str:
    """Why an account to which no other name of the directory leads is not free all the same, or nothing."""
    status = directory.look(account)
    if status is None:
        return "its file was removed just now"
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return f"its file has {status.st_nlink} links, one of them elsewhere" if status.st_nlink != 1 else ""


def try_account(directory: Gridmapdir, account: str, name: str) -> Link | None:
    """Link the free ``account`` to ``name``; None when another was faster."""
    before = directory.look(account)
    if before is None:
        return None
    try:
        directory.link(account, name)
    except FileExistsError:
        return find(directory, name)
    except FileNotFoundError:
        return None
    after = directory.look(name)
    if after is None or after.st_ino != before.st_ino:
        return None
    if after.st_nlink == 2 or outlasts(directory, name, after.st_ino):
        return Link(account, after.st_ino, created=True)
    return None


def outlasts(directory: Gridmapdir, name: str, inode: int) -> bool:
    """Whether the new link ``name`` has become good since another to the same account went; if not, take it back.

    Were it taken back at once, as the other is, a third program that maps the same person could find it alone in
    between and hand the account out, which would then be lent again.  Two of ours wait for different times, by
    chance, and not for long: the other link may be good, and nobody can use its account meanwhile.
    """
    _sleep_between(*PATIENCE_SECONDS)
    status = directory.look(name)
    if status is None or status.st_ino != inode:
        return False  # LCMAPS, mapping the same person, took it for its own
    if status.st_nlink == 2:
        return True
    try:
        directory.unlink(name, inode)
    except FileNotFoundError:
        pass  # a network file system did it, and asked again
    return False


def is_still(directory: Gridmapdir, name: str, link: Link) -> bool:
    """Whether ``name`` leads to the same account as before, and nobody else's does."""
    found = find(directory, name, link.account)
    return found is not None and found[:2] == link[:2]


def pause() -> None:
    """Wait a random moment, so that two who met do not meet again."""
    _sleep_between(0, LONGEST_PAUSE_SECONDS)


def _sleep_between(least: float, most: float) -> None:
    import random  # noqa: PLC0415 - as above

    time.sleep(random.uniform(least, most))  # noqa: S311 - nobody gains by guessing it


def numbers(pool: str, survey: accounts.Survey, unusable: dict[str, str]) -> str:
    """How full a pool is, in words."""
    if not survey.total:
        return f"pool {pool} has no account file in the gridmapdir"
    text = f"pool {pool} has {survey.total} accounts, {survey.taken} taken"
    if unusable:
        shown = "; ".join(f"{account}: {why}" for account, why in sorted(unusable.items())[:3])
        text += f", {len(unusable)} not usable ({shown}{'; …' if len(unusable) > 3 else ''})"
    return text


def full(how_full: str) -> Refused:
    """The refusal by a pool that has nothing to lend."""
    return Refused(reasons.POOL_FULL, how_full, "make accounts by gridwarden pool create or grow, or release leases")


def corrupt(directory: Gridmapdir, name: str, what: str) -> Refused:
    """The refusal of a lease that nobody can rely on."""
    return Refused(reasons.LEASE_CORRUPT, f"{directory.path}/{name} {what}", CHECK)
