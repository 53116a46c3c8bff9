"""What is wrong with the links of one account: too many, none, or not to an account; pure.

Why the holder file decides among three links: it is written when the link was seen alone on the account, and
whoever linked later saw three and handed nothing out.  The lease file is written under the same condition.  A link
that neither names may have been handed out by another program, so nothing chooses between two of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.mapper.directory_view import cooling_parts, identity_text, pool_of
from gridwarden.mapper.findings import NOTE, RESTORE_ACCOUNT, TAKE_AWAY, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.mapper.directory_view import Names, Seen


def judge(names: Names, seen: Seen) -> Iterator[Finding]:
    """What is wrong with the links of one inode."""
    if len(names.accounts) > 1:
        detail = f"{' and '.join(names.accounts)} are one file, so who holds one holds both"
        yield Finding(
            "two-accounts", names.accounts[0], names.accounts[1], detail, "", "remove one, and create it anew"
        )
        return
    if not names.accounts:
        yield from without_account(names, seen)
        return
    (account,) = names.accounts
    missing = names.links - 1 - len(names.others)
    if missing > 0:
        detail = f"its file has {names.links} links, {missing} of them outside the gridmapdir, so it is never lent"
        remedy = f"find them with find DIR -xdev -inum {names.inode}, and remove them"
        yield Finding("link-elsewhere", account, account, detail, "", remedy)
    elif names.links > 2:
        yield from too_many(account, names, seen)
    elif names.withdrawn:
        detail = "an interrupted repair keeps this account taken; the ledger's repair record says for which lease"
        remedy = f"rename {names.withdrawn[0]} back to that lease name if nothing else has that name"
        yield Finding("withdrawn", names.withdrawn[0], account, detail, "", remedy)
    for name in names.cooling:
        yield from cooling(name, account, seen)
    for name in names.leases:
        if not pool_of(account, seen.pools) and name in seen.claims:
            detail = f"{identity_text(seen.claims[name])} holds {account}, which is of no pool of site.yaml"
            yield Finding("wrong-pool", name, account, detail, "", "add the pool, or release the lease")


def without_account(names: Names, seen: Seen) -> Iterator[Finding]:
    """Leases and cooling names that lead to no account file."""
    for name in names.others:
        account = last_known_account(name, names.inode, seen)
        lone = names.links == 1
        if account and account not in seen.files and lone:
            detail = f"the file of {account} was removed by hand; the inode is still there under this name"
            yield Finding("account-removed", name, account, detail, RESTORE_ACCOUNT)
        elif account in seen.files and lone:
            detail = f"{account} was removed and made again, so it looks free, while this lease was for the old file"
            remedy = f"see that nothing of its holder is left in {account}, then remove {name}"
            yield Finding("account-replaced", name, account, detail, "", remedy)
        elif lone and name not in names.cooling:
            detail = "it leads to no account, and nothing says which it was; LCMAPS takes such a lease away, too"
            yield Finding("solitary-lease", name, "", detail, TAKE_AWAY)
        else:
            detail = f"it leads to no account, and its file has {names.links} links"
            remedy = f"find them with find DIR -xdev -inum {names.inode}; remove what nobody uses"
            yield Finding("orphan-lease", name, account, detail, "", remedy)


def last_known_account(name: str, inode: int, seen: Seen) -> str:
    """The account that a lease or cooling name of this inode was for, or nothing."""
    if account := cooling_parts(name)[0]:
        return account
    holder = next((held for held in seen.holders.values() if (held.name, held.inode) == (name, inode)), None)
    lease = seen.leases.get(name)
    return holder.account if holder else lease.account if lease and lease.inode == inode else ""


def too_many(account: str, names: Names, seen: Seen) -> Iterator[Finding]:
    """More than one link to an account: which is the one that was handed out."""
    holder = seen.holders.get(account)
    handed_out = [name for name in names.leases if is_of_lease_file(name, account, names.inode, seen)]
    if names.cooling:
        keep = names.cooling[:1] if not handed_out and not (holder and holder.name in names.leases) else []
    elif holder and holder.name in names.leases and holder.inode == names.inode:
        keep = [holder.name] if not set(handed_out) - {holder.name} else []
    else:
        keep = handed_out if len(handed_out) == 1 else []
    for name in names.others:
        if name in keep:
            continue
        what = f"{account} has {names.links} links, and everybody refuses it while that is so"
        if keep or name in names.withdrawn:
            detail = f"{what}; it is held under {keep[0]}" if keep else f"{what}; this one is a repair's"
            yield Finding("three-links", name, account, detail, TAKE_AWAY)
        else:
            detail = f"{what}; nothing says which of them was handed out: {', '.join(names.others)}"
            remedy = "look whose jobs and files the account has, and remove the lease of the others"
            yield Finding("three-links", name, account, detail, "", remedy)


def is_of_lease_file(name: str, account: str, inode: int, seen: Seen) -> bool:
    """Whether the lease file of ``name`` is about that very link."""
    lease = seen.leases.get(name)
    return lease is not None and (lease.account, lease.inode) == (account, inode)


def cooling(name: str, account: str, seen: Seen) -> Iterator[Finding]:
    """A cooling name against its account and the ledger."""
    said, lease = cooling_parts(name)
    if said != account:
        detail = f"a cooling name that does not say {account}, which it keeps taken"
        remedy = f"see that nothing of its last holder is left in {account}, then remove the name"
        yield Finding("cooling-corrupt", name, account, detail, "", remedy)
    elif lease not in seen.released | seen.freed:
        detail = f"no record in this machine's ledger says that lease {lease} was released"
        yield Finding("cooling-unrecorded", name, account, detail, NOTE)
