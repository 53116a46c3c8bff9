"""What was seen of one account, in order, and when it was linked to several names at once: lent to two by two programs.  Pure."""

from __future__ import annotations

from datetime import UTC
from itertools import groupby, pairwise, takewhile
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.times import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gridwarden.accounting.lease_history import Sighting


class AtOnce(NamedTuple):
    """The last sightings of the leases that an account was under at once, and ``because``: between which moments it was."""

    sightings: list[Sighting]
    because: str


def of_account(sightings: Iterable[Sighting], account: str) -> list[Sighting]:
    """Return the sightings of an account in their order.

    A link under the name of our lease of then says nothing more, unless it was seen beside another.
    """
    found = sorted(each for each in sightings if each.account == account and each.lease)
    names = {each.lease: each.name for each in found if each.name}
    ours = _next_to_ours(found, names) | _next_to_ours(reversed(found), names)
    several = {a.time for a, b in pairwise(found) if a.time == b.time and a.linked and b.linked and a.lease != b.lease}
    return [each for each in found if each not in ours or each.time in several]


def seen_next(history: Sequence[Sighting], moment: int) -> list[Sighting]:
    """Return what was seen next after ``moment``: all of one time."""
    after = [each for each in history if each.time > moment]
    return [each for each in after if each.time == after[0].time]


def at_once(history: Sequence[Sighting], moment: int) -> AtOnce | None:
    """Return the leases that an account was under at once at ``moment``; None where that was one, or none."""
    if not _has_links(history):
        return None  # as nearly always
    states = list(_states(history))
    before = (state for state in reversed(states) if state[0] <= moment)
    several = list(takewhile(lambda state: len(state[1]) > 1, before))
    if not several:
        return None
    begin = format_instant(several[-1][0], UTC)
    end = next((time for time, standing in states if time > moment and len(standing) == 1), None)
    when = f"from {begin} on" if end is None else f"between {begin} and {format_instant(end, UTC)}"
    _, standing = several[0]
    return AtOnce(standing, f"{len(standing)} names were linked to the account at once, {when}")


def _has_links(history: Sequence[Sighting]) -> bool:
    """Say whether anything but one lease of ours after another was seen."""
    pairs = pairwise(history)
    return any(each.is_anothers for each in history) or any(a.time == b.time and a.lease != b.lease for a, b in pairs)


def _states(history: Iterable[Sighting]) -> Iterator[tuple[int, list[Sighting]]]:
    """Yield each moment at which an account was seen, with the leases that it may have been under from then on."""
    standing: dict[str, Sighting] = {}
    for time, seen in groupby(history, key=lambda each: each.time):
        for each in seen:
            standing = {lease: other for lease, other in standing.items() if _stays(other, each)} | {each.lease: each}
        yield time, list(standing.values())


def _stays(other: Sighting, each: Sighting) -> bool:
    """Say whether another lease may stand beside the one that is seen now.

    An account is lent, and freed, only while nothing else is linked to it.  Who looks at its links sees all of them, and
    says so in records of one time.  The rest go by the holder file, which says nothing of links that others made.
    """
    if each.begins or each.ends or other.ends:
        return False
    return other.time == each.time if each.linked else other.is_anothers


def _next_to_ours(found: Iterable[Sighting], names: Mapping[str, str]) -> set[Sighting]:
    """Return the links that come after a lease of ours of that name, which had not ended, and after no other link since."""
    same: set[Sighting] = set()
    name = ""
    for each in found:
        if not each.is_anothers:
            name = "" if each.ends else names.get(each.lease, "")
        elif each.name == name:
            same.add(each)
        else:
            name = ""
    return same
