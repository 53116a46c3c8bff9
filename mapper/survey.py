"""Read what a check judges: the directory, what gridwarden keeps below it, this machine's holders and ledger."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeVar

from gridwarden import chain, holders, holds, trusted
from gridwarden.errors import EvidenceError, Refused, Unavailable
from gridwarden.mapper import accounts, candidates, cooling, names, nodes
from gridwarden.mapper.directory_view import WITHDRAWN, File, Seen, cooling_parts, pool_of
from gridwarden.mapper.own_directories import OWN
from gridwarden.mapper.own_files import LONGEST_FILE, why_not_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gridwarden.holders import Holder
    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.site import SiteValues

UNRECORDED = "cooling-unrecorded"
LONGEST = {
    names.NAMES: LONGEST_FILE,
    names.LEASES: LONGEST_FILE,
    cooling.KIND: LONGEST_FILE,
    nodes.KIND: nodes.LONGEST,
    candidates.KIND: nodes.LONGEST,
}
"""The kinds of files below ``.gridwarden``, and how many bytes one may have."""

What = TypeVar("What")


def survey(
    directory: Gridmapdir,
    site: SiteValues,
    pools: tuple[str, ...],
    users: Users | None,
    *,
    only: Iterable[str] | None = None,
) -> Seen:
    """What is there now, of all names or of ``only`` some; without ``users`` nobody asks which accounts are usable.

    Raises Unavailable, ConfigurationError, EvidenceError.
    """
    wanted = set(only) if only is not None else {name for name, _ in directory.entries()}
    files = {name: file for name in sorted(wanted) if (file := look(directory, name))}
    odd = odd_files(directory, wanted if only is not None else None)
    unread: dict[str, str] = {}
    known = {name for name in directory.list_own(names.LEASES) if f"{names.LEASES}/{name}" not in odd}
    held, unreadable = readable_holders(site)
    if only is not None:
        known &= wanted
        held = {account: holder for account, holder in held.items() if wanted & {account, holder.name}}
        unreadable = {account: why for account, why in unreadable.items() if account in wanted}
    cooling_now = {f"{account}:{lease}": (account, lease) for account, lease in map(cooling_parts, files) if account}
    notes = read_each(cooling.KIND, cooling_now, lambda file: cooling.read(directory, *cooling_now[file]), unread)
    cold = {note.cooling_name: note for note in notes.values() if note}
    named = wanted | known | {holder.name for holder in held.values()} | {note.name for note in cold.values()}
    claimed = sorted(named.intersection(directory.list_own(names.NAMES)))
    claims = read_each(names.NAMES, claimed, lambda name: directory.read_own(names.NAMES, name), unread)
    leases = read_each(names.LEASES, sorted(known), lambda name: names.read_lease(directory, name), unread)
    ended = any(name.startswith(cooling.PREFIX) for name in files) or any(
        holder.name not in files for holder in held.values() if holder.name
    )
    released, freed = ended_leases(site) if ended or known - files.keys() else (frozenset(), frozenset())
    return Seen(
        files=files,
        claims={name: claims.get(name) or b"" for name in claimed},
        leases=leases,
        holders=held,
        unreadable=unreadable,
        unusable={name: why for name in files if pool_of(name, pools) and (why := why_unusable(name, users))},
        pools=pools,
        rules=site.rules,
        released=released,
        freed=freed,
        cold=cold,
        adopts=site.leases.adopted == "follow",
        half_made=tuple(f"{kind}/{name}" for kind in LONGEST for name in directory.half_made(kind)),
        odd=odd,
        unread=unread,
        on_hold=holds.everyone(site.holds),
    )


def look(directory: Gridmapdir, name: str) -> File | None:
    """A name's status; None for what is gone, and for hidden names that are not ours."""
    if name.startswith(".") and not name.startswith((cooling.PREFIX, WITHDRAWN)):
        return None
    status = directory.look(name)
    if status is None:
        return None
    return File(status.st_ino, status.st_nlink, status.st_mtime_ns // 1000, stat.S_ISREG(status.st_mode))


def odd_files(directory: Gridmapdir, wanted: set[str] | None) -> dict[str, str]:
    """Why nothing counts that stands in files below ``.gridwarden``, as ``KIND/NAME``; of those ``wanted``, or all."""
    found: dict[str, str] = {}
    for kind, longest in LONGEST.items():
        for name in directory.list_own(kind):
            if wanted is not None and not wanted & {name, f"{OWN}/{kind}/{name}"}:
                continue
            status = directory.look_own(kind, name)
            if status and (why := why_not_ours(status, longest)):
                found[f"{kind}/{name}"] = why
    return found


def read_each(kind: str, files: Iterable[str], read: Callable[[str], What], unread: dict[str, str]) -> dict[str, What]:
    """What ``read`` gives of each file; why one cannot be read goes to ``unread``, since the others still count."""
    found: dict[str, What] = {}
    for name in files:
        try:
            found[name] = read(name)
        except Unavailable as error:
            unread[f"{kind}/{name}"] = str(error)
    return found


def readable_holders(site: SiteValues) -> tuple[dict[str, Holder], dict[str, str]]:
    """The holders of this machine by account, and why others cannot be read."""
    held: dict[str, Holder] = {}
    unreadable: dict[str, str] = {}
    descriptor = trusted.open_installed(site.holders)
    try:
        for account in sorted(name for name in os.listdir(descriptor) if not name.startswith(".")):
            try:
                held[account] = holders.read_at(descriptor, account)
            except Refused as refusal:
                unreadable[account] = refusal.detail
    except OSError as error:
        raise Unavailable(f"{site.holders}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return held, unreadable


def ended_leases(site: SiteValues) -> tuple[frozenset[str], frozenset[str]]:
    """The leases that this machine's ledger says were released, and those whose account was freed.

    A repair that noted a cooling name counts as the record of its release.
    """
    found: dict[str, set[str]] = {"release": set(), "freed": set()}
    try:
        for line in chain.read(site.ledger):
            body = line.body or {}
            kind = str(body.get("kind"))
            if kind in found:
                found[kind].add(str(body["lease"]))
            elif kind == "repair" and body["what"] == UNRECORDED:
                found["release"].add(cooling_parts(str(body["name"]))[1])
    except OSError as error:
        raise EvidenceError(f"{site.ledger}: cannot be read: {error.strerror}") from error
    return frozenset(found["release"]), frozenset(found["freed"])


def why_unusable(account: str, users: Users | None) -> str:
    """Why this machine cannot run anything as ``account``, or nothing."""
    try:
        if users:
            accounts.usable(account, users)
    except Refused as refusal:
        return refusal.detail
    return ""
