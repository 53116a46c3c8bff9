"""Leases as rows to print: found by account, DN, lease id or name, with what a check says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.errors import BadQuestion
from gridwarden.local_zone import system_zone
from gridwarden.mapper import lease_list
from gridwarden.mapper.check import judge
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.survey import survey
from gridwarden.times import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.mapper.directory_view import Seen
    from gridwarden.mapper.lease_list import Row
    from gridwarden.mapper.site import SiteValues


def everything(site: SiteValues, pools: tuple[str, ...]) -> tuple[Seen, list[Row]]:
    """What the directory has now, and its leases; raises Unavailable, ConfigurationError, EvidenceError."""
    with Gridmapdir(site.gridmapdir) as directory:
        seen = survey(directory, site, pools, None)
        return seen, lease_list.rows(seen)


def some(which: str, found: Iterable[Row]) -> list[Row]:
    """The leases that ``which`` stands for; raises BadQuestion when there are none."""
    if not (rows := lease_list.matching(which, found)):
        raise BadQuestion(f"no lease has the account, DN, lease id or name {which}", "gridwarden lease list shows all")
    return rows


def shown(row: Row) -> dict[str, object]:
    """A lease as text for people and programs: times in ISO 8601, to the second."""
    zone = system_zone()

    def instant(time: int | None) -> str | None:
        return format_instant(time - time % 1_000_000, zone) if time else None

    empty = {key: value or None for key, value in row._asdict().items()}
    return {**empty, "since": instant(row.since), "last_use": instant(row.used)}


def detailed(which: str, seen: Seen, found: Iterable[Row]) -> list[dict[str, object]]:
    """All that is known of the leases that ``which`` stands for; raises BadQuestion when there are none."""
    faults = judge(seen)
    details = []
    for row in some(which, found):
        holder = seen.holders.get(row.account)
        if holder and holder.lease != row.lease:
            holder = None
        said = [
            fault.detail for fault in faults if row.account in (fault.account, fault.name) or row.name == fault.name
        ]
        details.append(
            {
                **shown(row),
                "fqans": " ".join(holder.fqans) if holder else None,
                "uid": holder.uid if holder else None,
                "verdict": holder.verdict if holder else None,
                "on_hold": seen.on_hold.get(row.account),
                "faults": "; ".join(said) or None,
            }
        )
    return details
