"""Read from the store who was lent which account, and when: of each lease when it was seen first and last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, select, text

from gridwarden.accounting import schema
from gridwarden.accounting.lease_history import KINDS, Sighting, sighting
from gridwarden.accounting.rows import IN_ONE_QUERY, batches

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROLE = "CASE kind WHEN 'lease' THEN 'begins' WHEN 'freed' THEN 'ends' ELSE '' END"
# A year of an account's records comes to a few rows: what lies between first and last of one lease of ours changes nothing.
_SEEN = text(
    f"SELECT account, lease, {_ROLE}, min(time), max(time) FROM records "  # noqa: S608  our own names
    f"WHERE account IN :accounts AND kind IN ({', '.join(map(repr, KINDS))}) GROUP BY 1, 2, 3"
).bindparams(bindparam("accounts", expanding=True))
_NAMES = text(
    "SELECT account, lease, scheme, subject, vo, min(start) FROM job_runs "
    "WHERE account IN :accounts AND subject <> '' GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 3, 4, 5"  # the first is read last
).bindparams(bindparam("accounts", expanding=True))

# What another program lent comes in between the records of one lease: then each of them counts.
_EVERYTHING = text(
    f"SELECT body FROM records WHERE account = :account AND kind IN ({', '.join(map(repr, KINDS))}) AND body IS NOT NULL"  # noqa: S608
)


class Histories:
    """What records say of accounts, each read once however many of its jobs are asked about."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, list[Sighting]] = {}

    def read(self, accounts: Iterable[str]) -> None:
        """Read those of accounts that are not known yet."""
        new = sorted({account for account in accounts if account} - self._known.keys())
        for chunk in batches(new, IN_ONE_QUERY):
            self._known.update({account: [] for account in chunk})
            seen = self._connection.execute(_SEEN, {"accounts": chunk}).all()
            names = self._names(chunk, {lease for _, lease, *_ in seen if lease is not None})
            with_links = {account for account, lease, *_ in seen if lease is None}
            for account in with_links:
                bodies = self._connection.scalars(_EVERYTHING, {"account": account})
                self._known[account] = [sighting(json.loads(body)) for body in bodies]
            for account, lease, role, first, last in seen:
                if account in with_links:
                    continue
                who = names.get((account, lease), Sighting(0, account, lease, "", "", "", begins=False))
                for time in sorted({first, last}):
                    self._known[account].append(who._replace(time=time, begins=role == "begins", ends=role == "ends"))

    def of(self, account: str) -> list[Sighting]:
        """Return what records say of an account that was read, else nothing."""
        return self._known.get(account, [])

    def _names(self, accounts: list[str], leases: set[str]) -> dict[tuple[str, str], Sighting]:
        """Return whose each lease is: by its lending, else by the runs that hooks verified under it."""
        found: dict[tuple[str, str], Sighting] = {}
        if leases:
            for account, lease, scheme, subject, vo, start in self._connection.execute(_NAMES, {"accounts": accounts}):
                found[account, lease] = Sighting(start, account, lease, scheme, subject, vo, begins=False)
        lent = leases_of(self._connection, leases).values()
        found.update({(each.account, each.lease): each for each in lent})
        return found


def leases_of(connection: Connection, names: Iterable[str]) -> dict[str, Sighting]:
    """Return the lendings of leases by their names."""
    records = schema.records.c
    found: dict[str, Sighting] = {}
    for chunk in batches(sorted({name for name in names if name}), IN_ONE_QUERY):
        # An index of lendings alone serves who says so in these very words.
        lending = text("records.kind = 'lease'")
        lent = select(records.body).where(records.lease.in_(chunk), lending, records.body.is_not(None))
        bodies = connection.scalars(lent.order_by(records.time, records.ledger, records.seq))
        found.update((each.lease, each) for each in map(sighting, map(json.loads, bodies)))
    return found
