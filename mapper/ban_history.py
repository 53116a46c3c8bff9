"""Which leases a banned token or certificate was mapped to, whatever their holders have shown since.

A holder file names the credential that was mapped last; this machine's ledger has all of them.  Read only when such a
ban is made, and while a holder is banned for one that is not the last.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gridwarden import chain
from gridwarden.mapper.ban import identity_of, is_met

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.holders import Holder
    from gridwarden.mapper.ban import Ban
    from gridwarden.mapper.site import SiteValues

CREDENTIALS = ("jti", "serial")


def accounts_met(ban: Ban, held: Iterable[Holder], site: SiteValues) -> set[str]:
    """The accounts among ``held`` whose present lease was ever mapped here by a credential that meets the ban.

    Fixed accounts are nobody's lease.  Raises ConfigurationError and OSError for a ledger that cannot be read.
    """
    values = [value for kind, value in ban.conditions if kind in CREDENTIALS]
    leases = {holder.lease: holder for holder in held if holder.name}
    found: set[str] = set()
    if not values or not leases:
        return found
    for body in chain.bodies_with(site.ledger, json.dumps(values[0])[1:-1].encode("ascii")):
        holder = leases.get(str(body.get("lease")))
        if body.get("kind") == "lease" and holder:
            then = identity_of(holder)._replace(credential=str(body.get("credential")))
            if is_met(ban, then, holder.account):
                found.add(holder.account)
    return found
