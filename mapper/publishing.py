"""Record that an identity may use an account, and publish it where hooks look: only after that is it handed out."""

from __future__ import annotations

import os

from gridwarden import holders, ledger, reasons, trusted
from gridwarden.errors import EvidenceError, Refused, Unavailable
from gridwarden.holders import Holder
from gridwarden.mapper import accounts, names
from gridwarden.mapper.ban import banned_holder

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.accounts import Account
    from gridwarden.mapper.ban import Ban
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.linking import Link
    from gridwarden.mapper.names import LeaseFile
    from gridwarden.mapper.site import SiteValues


def refuse_unready(site: SiteValues) -> None:
    """Raise ConfigurationError or EvidenceError when a lease could be made but not recorded or published."""
    os.close(trusted.open_installed(site.holders))
    descriptor = trusted.open_installed(site.ledger)
    try:
        room = os.fstatvfs(descriptor)
    except OSError as error:
        raise EvidenceError(f"{site.ledger}: {error.strerror}, so no lease can be recorded") from error
    else:
        if room.f_bfree * room.f_frsize < ledger.LONGEST_LINE:
            raise EvidenceError(f"{site.ledger}: the disk is full, so no lease can be recorded", "free space there")
    finally:
        os.close(descriptor)


def record(evidence: Sequence[tuple[Identity, Holder, bool]], site: SiteValues) -> tuple[int, str]:
    """Append that each identity may use its holder's account, adopted now or not; raises EvidenceError.

    Returns the sequence number and hash of the last record.
    """
    entries: list[tuple[str, dict[str, str | int | None]]] = [
        (
            "lease",
            {
                "account": holder.account,
                "uid": holder.uid,
                "lease": holder.lease,
                "name": holder.name,
                "scheme": identity.scheme,
                "subject": identity.subject,
                "vo": identity.vo,
                "fqans": " ".join(
                    identity.fqans or identity.groups
                ),  # a token's groups are to accounting what FQANs are
                "credential": identity.credential,
                "adopted": int(adopted),
            },
        )
        for identity, holder, adopted in evidence
    ]
    return ledger.append_all(site.ledger, entries, node=site.node, cluster=site.cluster)


def publish(holder: Holder, site: SiteValues) -> None:
    """Write the holder file; raises Unavailable, ConfigurationError."""
    try:
        holders.publish(site.holders, holder, site.holders_group)
    except OSError as error:
        raise Unavailable(
            f"{site.holders}/{holder.account}: cannot be written: {error.strerror}", "nothing was handed out"
        ) from error


def mark_banned(account: str, banned: Sequence[Ban], site: SiteValues) -> None:
    """Tell the hooks, if they see a holder of the account, which of the bans in force matches that one."""
    holder = published(account, site)
    if holder and holder.verdict == holders.OK and (ban := banned_holder(holder, banned)):
        holder.verdict, holder.because = holders.BANNED, f"{holder.subject} matches {ban.pattern}"
        publish(holder, site)


def published(account: str, site: SiteValues) -> Holder | None:
    """The holder file of an account, if there is one that can be trusted."""
    try:
        return holders.read(site.holders, account)
    except Refused:
        return None


def published_under(directory: Gridmapdir, name: str, inode: int, site: SiteValues) -> Holder | None:
    """The holder file of the account whose inode is held under a lease name, if there is one.

    Raises Refused (holder-invalid) when that account's cannot be trusted: it may have said another identity.
    """
    try:
        published_now = sorted(account for account in os.listdir(site.holders) if account[0] != ".")
    except OSError as error:
        raise Unavailable(f"{site.holders}: cannot be read: {error.strerror}", "nothing was handed out") from error
    for account in published_now:
        try:
            holder = holders.read(site.holders, account)
        except Refused as refusal:
            if refusal.reason == reasons.HOLDER_INVALID and accounts.is_account(directory, account, inode):
                raise
        else:
            if (holder.name, holder.inode) == (name, inode):
                return holder
    return None


def is_published(holder: Holder, site: SiteValues) -> bool:
    """Whether the holder file says exactly this."""
    found = published(holder.account, site)
    return found is not None and found.pairs() == holder.pairs()


def holder_of_link(link: Link, name: str, identity: Identity, site: SiteValues) -> Holder | None:
    """What this machine publishes about that very link; raises Refused (lease-name-collision) if it names another."""
    holder = published(link.account, site)
    if holder is None or (holder.name, holder.inode) != (name, link.inode):
        return None
    if (holder.scheme, holder.subject) != (identity.scheme, identity.subject):
        raise names.collision(identity, f"{holder.scheme} {holder.subject}")
    return holder


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
        credential=identity.credential,
        issuer=identity.issuer or identity.identity_provider,
        username=identity.username,
    )
