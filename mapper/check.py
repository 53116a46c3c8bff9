"""Find what is not consistent in a gridmapdir, and say what may be done about it without harm; pure.

What a kill leaves behind is decided by one rule: the holder file says whose a link is, else what gridwarden keeps
of the lease under ``.gridwarden``, else the link is another program's.  A repair only ever takes an account away
from nobody, or keeps it taken: it never makes one free whose last holder could have left something there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import check_links, policy, rules
from gridwarden.mapper.check_links import is_of_lease_file
from gridwarden.mapper.directory_view import by_inode, cooling_parts, identity_text, is_lease, pool_of
from gridwarden.mapper.findings import (
    REMOVE_FILE,
    REMOVE_HOLDER,
    REMOVE_LEASE_FILE,
    RESTORE_LEASE,
    UNPROVEN,
    WRITE_CLAIM,
    WRITE_HOLDER,
    WRITE_LEASE_FILE,
    Finding,
)
from gridwarden.mapper.identity import remembered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.holders import Holder
    from gridwarden.mapper.directory_view import Names, Seen

RESTORE_CLAIM = "restore it from a backup; where there is a lease file, remove it, and --repair writes it again"
# Conditions of which nothing that is kept says whether a holder meets them.
FORGOTTEN = frozenset(("group", "scope", "audience", "identity_provider", rules.AUTHENTICATED))


def judge(seen: Seen) -> list[Finding]:
    """Everything that is not consistent, each once."""
    found = [
        *odd_files(seen),
        *(finding for names in by_inode(seen.files) for finding in check_links.judge(names, seen)),
        *registry(seen),  # before a lease file is repaired that may be all that knows a lost name
        *lease_files(seen),
        *holder_files(seen),
        *accounts(seen),
    ]
    return list(dict.fromkeys(found))


def odd_files(seen: Seen) -> Iterator[Finding]:
    """Accounts and leases that are not regular files, claims that say nobody, files of ours that nobody finishes."""
    for name, file in seen.files.items():
        if not file.regular and (is_lease(name) or pool_of(name, seen.pools)):
            yield Finding("not-a-file", name, "", "it is not a regular file", "", "look who made it, and remove it")
    for name, claim in seen.claims.items():
        if b"\n" not in claim and f"names/{name}" not in seen.odd | seen.unread:
            detail = "the registry's file for this lease name does not name an identity"
            yield Finding("claim-corrupt", name, "", detail, "", RESTORE_CLAIM)
    for path, why in seen.odd.items():
        kind, _, name = path.partition("/")
        if kind == "names":
            yield Finding(
                "claim-corrupt", name, "", f"the registry's file for this lease name {why}", "", RESTORE_CLAIM
            )
        elif kind == "leases":
            yield Finding("lease-file-wrong", name, "", f"the lease file {why}", REMOVE_LEASE_FILE)
        else:
            yield Finding("file-wrong", f".gridwarden/{path}", "", f"it {why}, so nothing in it counts", REMOVE_FILE)
    for path, why in seen.unread.items():
        remedy = "see in the kernel's or the file server's log why; nobody is given that lease meanwhile"
        yield Finding("file-unreadable", f".gridwarden/{path}", "", why, "", remedy)
    for name in seen.half_made:
        detail = "a program that was killed, long ago, had begun to write it; nothing reads it"
        yield Finding("half-made", f".gridwarden/{name}", "", detail, REMOVE_FILE)


def lease_files(seen: Seen) -> Iterator[Finding]:
    """Lease files against links, claims and holders."""
    linked = {name: names for names in by_inode(seen.files) for name in names.leases}
    cooling_now = {cooling_parts(name) for name in seen.files}
    held = {holder.name: holder for holder in seen.holders.values() if holder.name}
    for name, lease in seen.leases.items():
        account = lease.account if lease else ""
        if name not in linked:
            yield from unlinked(name, seen, cooling_now)
            continue
        names = linked[name]
        if len(names.accounts) != 1 or is_of_lease_file(name, names.accounts[0], names.inode, seen):
            continue
        if agrees(held.get(name), names) or account == names.accounts[0]:
            detail = "the lease file is not about this link" if lease else "the lease file is not whole"
            yield Finding("lease-file-wrong", name, names.accounts[0], detail, WRITE_LEASE_FILE)
        else:
            detail = f"the lease file is about {account or 'nothing'}, and the lease leads to {names.accounts[0]}"
            yield Finding("lease-file-wrong", name, names.accounts[0], detail, REMOVE_LEASE_FILE)
    for name in linked.keys() - seen.leases.keys():
        names = linked[name]
        account = names.accounts[0] if names.accounts else ""
        if agrees(held.get(name), names):
            yield Finding("lease-file-missing", name, account, "the holder file says whose it is", WRITE_LEASE_FILE)
        elif account and name in seen.claims and names.links == 2:
            whose = identity_text(seen.claims[name])
            detail = f"made by another program, or by a mapping that was killed; the name is that of {whose}"
            if seen.adopts:
                yield Finding(UNPROVEN, name, account, detail, "", "the next mapping of that identity adopts it")
            else:
                yield Finding("lease-not-ours", name, account, detail, "", f"gridwarden lease release {account}")


def registry(seen: Seen) -> Iterator[Finding]:
    """The registry of exact identities against what the lease files say once more."""
    for name, lease in seen.leases.items():
        if not lease or not lease.scheme or name not in seen.files:
            continue
        claim = seen.claims.get(name)
        if claim == b"":
            continue
        if claim is None:
            detail = f"the registry has nobody under this name, and the lease file says {lease.scheme} {lease.subject}"
            yield Finding("claim-lost", name, lease.account, detail, WRITE_CLAIM)
        elif claim != f"{lease.scheme}\n{lease.subject}".encode("utf-8", "surrogateescape"):
            detail = f"the lease file says {lease.subject}, the registry {identity_text(claim)}"
            yield Finding("two-identities", name, lease.account, detail, "", "ban both until you know whose jobs ran")


def unlinked(name: str, seen: Seen, cooling_now: set[tuple[str, str]]) -> Iterator[Finding]:
    """A lease file whose lease is not there."""
    lease = seen.leases[name]
    if not lease or lease.lease in seen.freed or (lease.account, lease.lease) in cooling_now:
        yield Finding("lease-file-left", name, lease.account if lease else "", "its lease has ended", REMOVE_LEASE_FILE)
    elif is_removed(name, seen):
        detail = f"another program took the lease away, so {lease.account} looks free before it was emptied"
        yield Finding("lease-removed", name, lease.account, detail, RESTORE_LEASE)
    else:
        detail = f"another program took the lease away, and {lease.account} is not free or not there any more"
        yield Finding("lease-file-left", name, lease.account, detail, REMOVE_LEASE_FILE)


def is_removed(name: str, seen: Seen) -> bool:
    """Whether a lease that gridwarden knows was taken away, and its account looks free since."""
    lease = seen.leases.get(name)
    file = seen.files.get(lease.account) if lease else None
    return bool(lease and file and (file.inode, file.links) == (lease.inode, 1) and name in seen.claims)


def agrees(holder: Holder | None, names: Names) -> bool:
    """Whether a holder file is about that very link."""
    return holder is not None and [holder.account] == names.accounts and holder.inode == names.inode


def holder_files(seen: Seen) -> Iterator[Finding]:
    """This machine's holder files against links, claims, policy and ledger."""
    for account, why in seen.unreadable.items():
        yield Finding("holder-corrupt", account, account, why, "", "remove it, and map its identity again")
    for account, holder in seen.holders.items():
        if not holder.name:
            continue
        claim = seen.claims.get(holder.name)
        if claim and claim != f"{holder.scheme}\n{holder.subject}".encode("utf-8", "surrogateescape"):
            detail = f"the holder file says {holder.subject}, the registry {identity_text(claim)}"
            yield Finding("two-identities", holder.name, account, detail, "", "ban both until you know whose jobs ran")
        link, file = seen.files.get(holder.name), seen.files.get(account)
        if link is None:
            yield from holder_without_lease(holder, seen)
        elif file and link.inode == file.inode and holder.inode != file.inode:
            detail = "the gridmapdir was copied, so the holder file has an inode that is no longer the account's"
            yield Finding("holder-of-copy", holder.name, account, detail, WRITE_HOLDER)
        elif file and link.inode != file.inode:
            detail = f"the holder file says that {holder.subject} holds {account}, but the lease leads elsewhere"
            yield Finding("holder-elsewhere", holder.name, account, detail, "", "look whose jobs and files it has")
        yield from wrong_pool(holder, seen)


def holder_without_lease(holder: Holder, seen: Seen) -> Iterator[Finding]:
    """A holder file whose lease is not there: a release that was killed, or a lease that somebody took away."""
    account, name, lease = holder.account, holder.name, seen.leases.get(holder.name)
    cooling_of_it = any(cooling_parts(cold) == (account, holder.lease) for cold in seen.files)
    if holder.lease in seen.freed or cooling_of_it:
        yield Finding("holder-left", name, account, f"lease {holder.lease} was released", REMOVE_HOLDER)
    elif not (lease and lease.lease == holder.lease and is_removed(name, seen)):
        detail = f"the holder file says that {holder.subject} holds {account}, and there is no such lease"
        remedy = f"see that nothing of theirs is left in {account} here, then remove the holder file"
        yield Finding("holder-without-lease", name, account, detail, "", remedy)


def wrong_pool(holder: Holder, seen: Seen) -> Iterator[Finding]:
    """A lease from another pool than the policy now gives, as far as what is left of an identity tells."""
    identity = remembered(holder.scheme, holder.subject, holder.fqans, holder.vo)
    try:
        decision = policy.decide([identity], seen.rules)
    except (Refused, ConfigurationError):  # or a file decides, which nobody reads here
        return
    for kinds in map(rules.conditions, seen.rules[: decision.rule]):
        if len(kinds) > 1:  # they may have shown more
            return
        if any(identity.scheme in schemes and FORGOTTEN.intersection(names) for schemes, names in kinds):
            return
    if decision.kind != "pool" or decision.target != pool_of(holder.account, seen.pools):
        detail = f"{holder.subject} holds {holder.account}, and the policy now says {decision.kind} {decision.target}"
        yield Finding("wrong-pool", holder.name, holder.account, detail, "", "release the lease")


def accounts(seen: Seen) -> Iterator[Finding]:
    """Accounts that this machine cannot use, which other programs lend all the same."""
    for account, why in seen.unusable.items():
        remedy = f"create the user {account} on this machine, or take its file out of the gridmapdir"
        yield Finding("account-unusable", account, account, why, "", remedy)
