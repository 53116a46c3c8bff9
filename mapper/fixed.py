"""The fixed accounts of the policy: one for everybody whom a rule matches.

A fixed account has no link.  Several people may be mapped to it, and nobody can tell apart what runs under one
uid; so its holder file names the account itself (scheme ``local``), its lease id is the same on every host, and
each mapping is recorded: the ledger says who could have been behind it.
"""

from __future__ import annotations

import pwd

from gridwarden.holders import Holder
from gridwarden.mapper import accounts, bans, lease, publishing, rules
from gridwarden.mapper.ban import identity_of
from gridwarden.mapper.lease import Lease
from gridwarden.sha256 import sha256

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.site import SiteValues


def fixed_account(
    identity: Identity, name: str, site: SiteValues, users: Users = pwd, shown: Sequence[Identity] = ()
) -> Lease:
    """The fixed account ``name`` for ``identity``, beside anybody else who is mapped to it.

    A ban of anything that is ``shown`` stops it, and so does one of the account itself.  Raises Refused, and as
    ``lease_from_pool``.
    """
    publishing.refuse_unready(site)
    holder = holder_of(name, site, users)
    people = [identity, *shown, identity_of(holder)]
    lease.refuse_and_mark(people, holder.account, bans.in_force(site), site)
    head = publishing.record([(identity, holder, False)], site)
    if not publishing.is_published(holder, site):
        publishing.publish(holder, site)
    lease.refuse_and_mark(people, holder.account, bans.in_force(site), site)
    account = (holder.account, holder.uid, holder.gid)
    return Lease(*account, holder.lease, "", identity.scheme, identity.subject, False, False, head)  # noqa: FBT003 - fields


def holder_of(name: str, site: SiteValues, users: Users = pwd) -> Holder:
    """What the holder file of a fixed account says while nobody is banned; raises Refused if nobody may use it."""
    account = accounts.usable(name, users)
    return Holder(
        account=account.name,
        uid=account.uid,
        gid=account.gid,
        lease=sha256(f"{site.site}\n{account.name}".encode()).hexdigest()[:32],
        name="",
        scheme="local",
        subject=account.name,
        vo=rules.vo_of_account(name, site.rules),
        fqans=(),
        since=0,
        inode=0,
    )
