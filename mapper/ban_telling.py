"""What ``gridwarden ban`` says of what it has done, and does at once on request."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from gridwarden import pools
from gridwarden.errors import Unavailable
from gridwarden.load_settings import load
from gridwarden.mapper import ban_changes, ban_now
from gridwarden.mapper.ban import Ban
from gridwarden.mapper.map_files import SPECIAL
from gridwarden.mapper.spelling import as_openssl_3
from gridwarden.output import escape

OF_TOKENS = ("issuer", "subject", "group", "scope", "audience", "identity_provider")
OF_CERTIFICATES = ("dn", "fqan")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gridwarden.holders import Holder
    from gridwarden.mapper.ban_changes import Change
    from gridwarden.mapper.rules import Rule
    from gridwarden.mapper.site import SiteValues


def remark(given: dict[str, str], pattern: str, site: SiteValues) -> None:
    """Say what a ban of this kind does not do, or not as it may seem."""
    warn_of_issuer(given.get("issuer", ""), site)
    known_as = as_openssl_3(pattern)
    if known_as != pattern and SPECIAL.isdisjoint(known_as):
        click.echo(f"LCMAPS on OpenSSL 3 compares with one spelling alone: for it, ban {escape(known_as)} instead")
    if not {"jti", "serial"}.isdisjoint(given):
        click.echo(
            "a holder is free again once mapped with another credential; a ban of their subject stops all they do"
        )
    if fixed := sorted({rule.account for rule in site.rules if rule.account and may_concern(given, rule)}):
        click.echo(f"jobs queued under {', '.join(fixed)} are not stopped: several people share these accounts")


def may_concern(given: dict[str, str], rule: Rule) -> bool:
    """Whether somebody whom this ban hits can be one to whom the rule gives an account, as far as the two say themselves."""
    if "account" in given:
        return False
    if not given.keys().isdisjoint(("pattern", "serial")):
        dn, pattern = (rule.dn or "*").lower(), given.get("pattern", "*").lower()
        return not any(getattr(rule, kind) for kind in OF_TOKENS) and (
            fnmatchcase(pattern, dn) or not SPECIAL.isdisjoint(pattern) or is_fqan(pattern)
        )
    return not any(getattr(rule, kind) for kind in OF_CERTIFICATES)


def is_fqan(pattern: str) -> bool:
    """Whether a pattern names a group of a VO, not a person: no part of it before the role is of a DN."""
    return "=" not in pattern.partition("/role=")[0]


def follow_up(
    path: Path,
    change: Change,
    given: dict[str, str],
    because: str,
    site: SiteValues,
    *,
    at_once: bool,
    hold: bool,
    dry_run: bool,
) -> None:
    """Do at once what was asked for to whom a ban of what is ``given`` hits, and say so.

    Raises Unavailable when a job is not gone in time.
    """
    lent = [holder for holder in change.met if holder.name]
    # A fixed account is several people's: all its jobs are only those of who is banned where the account itself is.
    whole = change.met if given.keys() == {"account"} else lent
    if hold:
        accounts = to_hold(lent, given, site)
        would = "would be" if dry_run else "is"
        for account in ban_now.hold(accounts, f"banned: {because}, by {ban_changes.who()}", site, dry_run=dry_run):
            click.echo(f"  {account}  {would} on hold here: rm {site.holds}/{account} ends that")
        if not accounts:
            click.echo(
                "nothing is on hold here, since none of them holds a pool account here; --account holds one by its name"
            )
    if not at_once:
        return
    programs = str(load(path).slurm.programs)
    stopped = ban_now.stop_jobs(whole, f"banned: {because}", site, programs, dry_run=dry_run)
    for account, jobs, _ in stopped:
        done = "would be cancelled" if dry_run else "cancelled"
        click.echo(f"  {account}  jobs {done}: {' '.join(jobs) or 'none'}")
    if late := [job for one in stopped for job in one.left]:
        raise Unavailable(f"jobs not gone yet: {' '.join(late)}", "squeue shows them; the same command asks again")


def to_hold(lent: Sequence[Holder], given: dict[str, str], site: SiteValues) -> list[str]:
    """The accounts that a ban puts on hold; one that it names itself also where nobody knows a holder of it any more, or yet."""
    named = given["account"] if given.keys() == {"account"} else ""
    by_name = [named] if any(pools.is_of_pool(named, pool) for pool in site.pools) else []
    return list(dict.fromkeys([*(holder.account for holder in lent), *by_name]))


def warn_of_issuer(issuer: str, site: SiteValues) -> None:
    """Say that the site believes no tokens of an issuer, and whose name is nearest; a CA's DN says nothing here."""
    known = [one.issuer for one in site.tokens.issuers] + [one.trust_domain for one in site.tokens.idtokens]
    if not issuer or issuer.startswith("/") or issuer in known:
        return
    same = [one for one in known if one.rstrip("/").lower() == issuer.rstrip("/").lower()]
    near = same or get_close_matches(issuer, known, 1)
    if not near and "://" not in issuer:
        return  # a Globus provider's domain
    said = f"the site believes those of {', '.join(known)}" if known else "the site believes none"
    nearest = f"; the nearest is {near[0]}" if near else ""
    click.echo(f"{escape(issuer)} is no issuer of tokens here, every / and capital counts: {said}{nearest}", err=True)


def shown(given: dict[str, str]) -> str:
    """The conditions that somebody gave, in words."""
    return Ban(tuple(given.items()) or (("", ""),), "", 0).pattern


def tell(done: str, change: Change, verdict: str) -> None:
    """Say what a change of the bans did, and whom it hit."""
    jobs = sum(marked.jobs for marked in change.marked)
    click.echo(f"{escape(done)}; holders on this machine: {len(change.marked)}, their jobs running here: {jobs}")
    for holder, running in change.marked:
        click.echo(f"  {holder.account}  {escape(holder.subject)}  {verdict}, jobs running here: {running}")
    for account in change.unreadable:
        click.echo(f"  {account}  its holder file cannot be trusted, so hooks refuse it", err=True)
