"""End what a kill may have left of a release: a lease file, a holder file, notes of what no longer cools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import holders, reasons
from gridwarden.errors import Refused, Unavailable
from gridwarden.mapper import accounts, cooling, names

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.cooling import Cooling
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.site import SiteValues


def settle(
    directory: Gridmapdir, account: str, lease: str, site: SiteValues, clock: Callable[[], int], users: Users
) -> Cooling:
    """End what a kill may have left of a release, and return what is known; it cools from now at the latest."""
    known = cooling.read(directory, account, lease)
    if known is None:
        status = directory.look(account)
        known = cooling.Cooling(account, lease, "", 0, status.st_ino if status else 0, 0)
    if is_remembered(directory, known):  # else nobody need wait for a mapping of theirs, in a full pool perhaps
        with names.locked(directory, known.name):
            forget(directory, known)
    unpublish(known, site)
    if not known.since:
        uid = known.uid or accounts.usable(account, users).uid
        known = known._replace(uid=uid, since=clock())
        cooling.write(directory, known)
    return known


def forget(directory: Gridmapdir, known: Cooling) -> None:
    """Remove the lease file of a released lease, so that nothing takes its id again."""
    if is_remembered(directory, known):
        names.forget_lease(directory, known.name)


def is_remembered(directory: Gridmapdir, known: Cooling) -> bool:
    """Whether there is still a lease file of a released lease."""
    file = names.read_lease(directory, known.name) if known.name else None
    return file is not None and file.lease == known.lease


def unpublish(known: Cooling, site: SiteValues) -> None:
    """Remove this machine's holder file of a released lease; raises Refused when it cannot be judged."""
    try:
        holder = holders.read(site.holders, known.account)
    except Refused as refusal:
        if refusal.reason == reasons.HOLDER_MISSING:
            return
        raise
    # Where machines share no locks, each may have given one lease an id of its own.
    if holder.lease == known.lease or (holder.name, holder.inode) == (known.name, known.inode):
        try:
            holders.remove(site.holders, known.account)
        except FileNotFoundError:
            pass  # another run was faster
        except OSError as error:
            raise Unavailable(f"{site.holders}/{known.account}: cannot be removed: {error.strerror}") from error


def drop_litter(directory: Gridmapdir) -> None:
    """Remove what is known of cooling names that are gone, or never came to be."""
    names_now = {f"{account}:{lease}" for account, lease, _ in cooling.find(directory)}
    for file in directory.list_own(cooling.KIND):
        if file not in names_now and directory.look(cooling.PREFIX + file) is None:
            try:
                directory.remove_own(cooling.KIND, file)
            except Unavailable:
                pass  # another run was faster
