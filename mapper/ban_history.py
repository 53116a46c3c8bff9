"""Which leases a banned token or certificate was mapped to, whatever their holders have shown since.

A holder file names the credential that was mapped last; this machine's ledger has all of them.  Read only when such a
ban is made, and while a holder is banned for one that is not the last.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gridwarden import chain
from gridwarden.mapper.ban import banned, identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.holders import Holder
    from gridwarden.mapper.ban import Ban
    from gridwarden.mapper.site import SiteValues

CREDENTIALS = ("jti", "serial")


def accounts_met(bans: Iterable[Ban], held: Iterable[Holder], site: SiteValues) -> dict[str, Ban]:
    """The accounts among ``held`` whose present lease was ever mapped here by a credential that meets one of the bans.

    The ledger is read once, however many there are.  Fixed accounts are nobody's lease.  Raises ConfigurationError and
    OSError for a ledger that cannot be read.
    """
    sought = [ban for ban in bans if not dict(ban.conditions).keys().isdisjoint(CREDENTIALS)]
    values = {value for ban in sought for kind, value in ban.conditions if kind in CREDENTIALS}
    leases = {holder.lease: holder for holder in held if holder.name}
    found: dict[str, Ban] = {}
    if not sought or not leases:
        return found
    texts = min(values, leases.keys(), key=len)  # such a record holds one of either
    for body in chain.bodies_with(site.ledger, [json.dumps(text)[1:-1].encode("ascii") for text in texts]):
        holder = leases.get(str(body.get("lease")))
        if body.get("kind") == "lease" and holder and holder.account not in found:
            then = identity_of(holder)._replace(credential=str(body.get("credential")))
            if ban := banned(then, sought, holder.account):
                found[holder.account] = ban
    return found
