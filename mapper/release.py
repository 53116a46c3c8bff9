"""Release a lease, and lend its account again only when it has cooled and nothing of its holder is left.

Checking that an account is idle and then unlinking its lease gives one account to two people when somebody is
mapped in between.  So a release is one rename that keeps the account taken for every program, and the unlink
comes after the cooling time, once everything has been asked again.

What a kill leaves between any two steps, the next run ends:

- after the record, before the rename: the lease stands, and the record says only that it was to end.
- after the rename: the account cools; ``free`` removes the holder file and writes since when.
- after the ``freed`` record, before the unlink: the account still cools, is emptied and recorded once more.

An identity that comes back meanwhile finds no lease and is lent another account.
"""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holds, ledger, syslog_line
from gridwarden.errors import BadQuestion, GridwardenError, Unavailable
from gridwarden.mapper import accounts, cooling, held, linking, names, nodes, settling
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.register import AccountLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.mapper.accounts import Account, Users
    from gridwarden.mapper.cooling import Cooling
    from gridwarden.mapper.held import Held
    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.terms import Terms

LOCK_SECONDS = 60.0  # as long as a hook waits for the same lock

RELEASED, WOULD_RELEASE = "released", "would-release"
COOLING, FREED, WOULD_FREE = "cooling", "freed", "would-free"
BUSY, FAULTY = "busy", "faulty"


class Outcome(NamedTuple):
    """What became of one account: ``state`` is one of the words above, ``why`` a sentence or empty."""

    account: str
    lease: str
    name: str
    state: str
    why: str


def release(  # noqa: PLR0913 - what a release needs to know
    which: str,
    because: str,
    who: str,
    site: SiteValues,
    terms: Terms,
    ask: Callable[[Account], str],
    clock: Callable[[], int],
    *,
    dry_run: bool = False,
    users: Users = pwd,
) -> Outcome:
    """End the lease of an account, or of a lease name, unless ``ask`` gives a reason why the account is in use.

    The account cools from the time (µs since the epoch) that ``clock`` gives once its lease is gone: until then
    somebody may have been handed it, however long this has waited.  Raises BadQuestion when nothing is leased under ``which``, Refused when the lease is not consistent or its user unknown, EvidenceError, Unavailable.
    """
    with Gridmapdir(site.gridmapdir) as directory:
        name = held.name_of(directory, which)
        if parts := cooling.parse(name):
            known = (
                cooling.read(directory, *parts) if dry_run else settling.settle(directory, *parts, site, clock, users)
            )
            return Outcome(*parts, known.name if known else "", COOLING, "it was released before")
        with names.locked(directory, name):
            link = linking.find(directory, name)
            if link is None:
                raise BadQuestion(f"nothing is leased under {name} any more")
            lease = held.lease_of(directory, name, link, site, users)
            with AccountLock(terms.locks, link.account, LOCK_SECONDS):
                hold = holds.why_held(site.holds, link.account)
                if why := f"it is on hold: {hold}" if hold else ask(lease.account):
                    return outcome(lease, BUSY, why)
                if dry_run:
                    return outcome(lease, WOULD_RELEASE, "")
                return cool(directory, lease, because, who, site, clock)


def cool(
    directory: Gridmapdir, lease: Held, because: str, who: str, site: SiteValues, clock: Callable[[], int]
) -> Outcome:
    """Record that a lease ends, and turn it into a cooling name."""
    begun = cooling.Cooling(lease.account.name, lease.lease, lease.name, lease.account.uid, lease.inode, 0)
    cooling.write(directory, begun)
    facts: dict[str, str | int | None] = {
        "account": lease.account.name,
        "uid": lease.account.uid,
        "lease": lease.lease,
        "name": lease.name,
        "scheme": lease.scheme,
        "subject": lease.subject,
        "because": because,
        "who": who,
    }
    seq, head = ledger.append(site.ledger, "release", facts, node=site.node, cluster=site.cluster)
    if not directory.rename(lease.name, begun.cooling_name, lease.inode):
        raise linking.corrupt(directory, lease.name, "was changed by another program while it was released")
    directory.sync()
    cooling.write(directory, begun._replace(since=clock()))
    settling.forget(directory, begun)
    settling.unpublish(begun, site)
    syslog_line.decision("lease", "released", **facts, seq=seq, head=head)
    return outcome(lease, RELEASED, because)


class Freeing(NamedTuple):
    """One run of ``free``, with what it was given."""

    site: SiteValues
    terms: Terms
    ask: Callable[[Account], str]
    hand_over: Callable[[Account, str], str]
    clock: Callable[[], int]
    dry_run: bool
    users: Users


def free(
    site: SiteValues,
    terms: Terms,
    ask: Callable[[Account], str],
    hand_over: Callable[[Account, str], str],
    clock: Callable[[], int],
    *,
    dry_run: bool = False,
    users: Users = pwd,
) -> list[Outcome]:
    """Lend every account again whose cooling time is over and of whose last holder nothing is left.

    ``ask`` says why an account is in use, ``hand_over`` empties it for a lease id and says why that failed;
    both say nothing when all is well.  What cannot be settled about one account keeps that one taken, with
    the reason.  Raises ConfigurationError or Unavailable when the directory as a whole cannot be used.
    """
    run = Freeing(site, terms, ask, hand_over, clock, dry_run, users)
    outcomes = []
    with Gridmapdir(site.gridmapdir) as directory:
        for account, lease, inode in cooling.find(directory):
            try:
                found = free_one(directory, account, lease, inode, run)
            except (GridwardenError, OSError) as error:
                gone = directory.look(cooling.name(account, lease)) is None  # another process was faster
                found = None if gone else Outcome(account, lease, "", FAULTY, str(error))
            if found:
                outcomes.append(found)
        if not dry_run:
            settling.drop_litter(directory)
    return outcomes


def free_one(directory: Gridmapdir, name: str, lease: str, inode: int, run: Freeing) -> Outcome | None:
    """``free`` for one cooling name; None when another process was faster."""
    known = cooling.read(directory, name, lease)
    if not run.dry_run:
        known = settling.settle(directory, name, lease, run.site, run.clock, run.users)
    now = run.clock()
    since = known.since if known and known.since else now
    ends = since + run.terms.cooling
    lease_name = known.name if known else ""
    if known is None or now < ends:
        return Outcome(name, lease, lease_name, COOLING, f"for {-((now - ends) // 60_000_000)} more minutes")
    account = accounts.usable(name, run.users)
    with directory.lock_own(cooling.KIND, known.file), AccountLock(run.terms.locks, name, LOCK_SECONDS):
        if directory.look(known.cooling_name) is None:
            return None
        if why := why_faulty(directory, known, account, inode):
            return Outcome(name, lease, lease_name, FAULTY, why)
        hold = holds.why_held(run.site.holds, name)
        why = f"it is on hold: {hold}" if hold else run.ask(account) or nodes.why_busy(
            directory, run.terms.nodes, name, lease,
            after=ends, now=now, longest=run.terms.answers, here=run.site.node,
        )  # fmt: skip
        if not (why or run.dry_run):
            why = run.hand_over(account, lease) or run.ask(account)
        if why or run.dry_run:
            return Outcome(name, lease, lease_name, BUSY if why else WOULD_FREE, why)
        return let_go(directory, known, run.site, inode)


def why_faulty(directory: Gridmapdir, known: Cooling, account: Account, inode: int) -> str:
    """Why a cooling name is not one that may be taken away, or nothing."""
    if account.uid != known.uid:
        return f"its uid was {known.uid} and is {account.uid} now"
    if not accounts.is_account(directory, account.name, inode):
        return "its file is not the one that was leased"
    if not accounts.is_account(directory, known.cooling_name, inode):
        return "its cooling name changed meanwhile"
    status = directory.look(account.name)
    links = status.st_nlink if status else 0
    return "" if links == 2 else f"it has {links} links instead of 2"


def let_go(directory: Gridmapdir, known: Cooling, site: SiteValues, inode: int) -> Outcome:
    """Record that an account is free, and take its cooling name away."""
    because = "cooled, asked again, and emptied"
    facts: dict[str, str | int | None] = {
        "account": known.account, "uid": known.uid, "lease": known.lease, "name": known.name, "because": because,
    }  # fmt: skip
    seq, head = ledger.append(site.ledger, "freed", facts, node=site.node, cluster=site.cluster)
    try:
        directory.unlink(known.cooling_name, inode)
    except (FileNotFoundError, Unavailable):  # a network file system may have done it all the same
        if directory.look(known.cooling_name) is not None:
            raise
    directory.sync()
    directory.remove_own(cooling.KIND, known.file)
    syslog_line.decision("lease", "freed", **facts, seq=seq, head=head)
    return Outcome(known.account, known.lease, known.name, FREED, because)


def outcome(lease: Held, state: str, why: str) -> Outcome:
    """The outcome of a lease."""
    return Outcome(lease.account.name, lease.lease, lease.name, state, why)
