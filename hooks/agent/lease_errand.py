"""What a child finds in the gridmapdir, and publishes on this machine: one look, which may hang with the file server.

A lease that carries a lease file of ours is published, verdict and all, unless the holder file of it is there already,
which then says more: the mapping wrote it.  One that another program made is only observed; the next mapping adopts it.
A holder file whose link is gone is taken away: a hook must not vouch for it.  All of that happens under the name's own
lock, as every mapping does; but a machine on which the gridmapdir is read-only can have no lock there.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from gridwarden import holders, pools, tab_file
from gridwarden.contexts import ExitStack, contextmanager
from gridwarden.errors import GridwardenError, Unavailable

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.hooks.agent.leases import Known
    from gridwarden.mapper.gridmapdir import Gridmapdir
    from gridwarden.mapper.site import SiteValues

    Pairs = list[tuple[str, str]]

MOST_AT_ONCE = 1000  # leases in one look: what is told of them is the daemon's memory
PUBLISH_SECONDS = 10.0  # of leases.LOOK_SECONDS


def look(path: str, of_pools: tuple[str, ...], known: Known, config: str, holding: str, *, bans: bool) -> bytes:
    """Compare with what is ``known``; a tab file: ``seen`` and ``gone`` leases, what was ``said`` or ``failed``, or a ``fault``.

    ``holding`` is the holders directory: a lease of ours whose holder file is not there any more gets it again.
    """
    try:
        links = leases_in(path, of_pools)
    except OSError as error:
        return tab_file.encode([("fault", (error.strerror or str(error)).lower())])
    fresh = {name: link for name, link in links.items() if known.get(name, ("", 0, ""))[:2] != link}
    adopted, held = listed(f"{path}/.gridwarden/leases") or (), listed(holding)
    awaited = [
        name
        for name, (account, _, lease) in known.items()
        if name in links and name not in fresh and (_is_missing(account, held) if lease else name in adopted)
    ]
    gone = [name for name in known if name not in links]
    if not (fresh or gone or awaited or bans):
        return tab_file.encode([])
    try:
        return tab_file.encode(_publish(links, [*fresh, *awaited], gone, known, config, bans=bans))
    except (GridwardenError, OSError) as error:
        return tab_file.encode([("fault", str(error))])


def leases_in(path: str, of_pools: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """Lease name -> (account, inode), of every lease of an account of these pools; raises OSError.

    By the numbers that the directory itself gives, in one pass; where it gives others than lstat, each file is asked.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(directory) as listing:
            entries = [(entry.name, entry.inode()) for entry in listing if entry.name[0] != "."]
        accounts = [one for one in entries if any(pools.is_of_pool(one[0], pool) for pool in of_pools)]
        if accounts and os.lstat(accounts[0][0], dir_fd=directory).st_ino != accounts[0][1]:
            entries = [(name, _inode(name, directory)) for name, _ in entries]
            accounts = [(name, _inode(name, directory)) for name, _ in accounts]
    finally:
        os.close(directory)
    by_inode = {inode: name for name, inode in accounts}
    return {name: (by_inode[inode], inode) for name, inode in entries if name[0] == "%" and inode in by_inode}


def listed(directory: str) -> set[str] | None:
    """The names in a directory; None where it cannot be read."""
    try:
        return set(os.listdir(directory))
    except OSError:
        return None


def _is_missing(account: str, held: set[str] | None) -> bool:
    return held is not None and account not in held


def _inode(name: str, directory: int) -> int:
    try:
        status = os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return 0
    return status.st_ino if stat.S_ISREG(status.st_mode) else 0


def _publish(
    links: dict[str, tuple[str, int]], fresh: list[str], gone: list[str], known: Known, config: str, *, bans: bool
) -> Pairs:
    from gridwarden.mapper import site_cache  # noqa: PLC0415 - nothing changes most of the time
    from gridwarden.mapper.gridmapdir import Gridmapdir  # noqa: PLC0415

    said: Pairs = []
    deadline = time.monotonic() + PUBLISH_SECONDS
    site = site_cache.load(config)
    with Gridmapdir(site.gridmapdir) as directory:
        for name in fresh[:MOST_AT_ONCE]:
            if time.monotonic() > deadline:
                break  # the next look goes on where this one ends
            account, inode = links[name]
            try:
                lease = _holder(directory, name, account, inode, site, said)
            except (GridwardenError, OSError) as error:
                said.append(("failed", f"{account}: {error}"))
                lease = ""
            before = known.get(name, ("", 0, ""))
            if before[:2] != (account, inode) or lease not in ("", before[2]):
                said.append(("seen", f"{account} {inode} {lease or '-'} {name}"))
        for name in gone:
            account, inode, _ = known[name]
            _withdraw(directory, name, account, inode, site, said)
    said += [("gone", name) for name in gone]
    if bans:
        from gridwarden.mapper import ban_changes  # noqa: PLC0415

        try:
            marked = ban_changes.refresh(site, dry_run=False).marked
        except (GridwardenError, OSError) as error:
            said.append(("failed", f"verdicts of bans: {error}"))  # what was seen of leases is true all the same
        else:
            said += [("said", f"{one.holder.account} is {one.holder.verdict}") for one in marked]
    return said


def _holder(directory: Gridmapdir, name: str, account: str, inode: int, site: SiteValues, said: Pairs) -> str:
    """The lease id of a lease of ours, published now if it was not; "" for another program's.  Raises Refused."""
    import pwd  # noqa: PLC0415

    from gridwarden.mapper import accounts, bans, names, publishing  # noqa: PLC0415
    from gridwarden.mapper.ban import banned_holder  # noqa: PLC0415
    from gridwarden.mapper.identity import Identity  # noqa: PLC0415

    with _locked(directory, name):
        status, file = directory.look(name), names.read_lease(directory, name)
        if status is None or status.st_ino != inode or not accounts.is_account(directory, account, inode):
            return ""
        if file is None or (file.account, file.inode) != (account, inode) or not file.scheme:
            return ""
        holder = publishing.published(account, site)
        if holder and (holder.name, holder.inode, holder.lease) == (name, inode, file.lease):
            return file.lease
        person = Identity(file.scheme, file.subject, tuple(file.fqans.split()), file.vo, "", 0, limited=False)
        new = publishing.holder_of(person, accounts.usable(account, pwd), file, name)
        if ban := banned_holder(new, bans.in_force(site)):
            new.verdict, new.because = holders.BANNED, f"{new.subject} matches {ban.pattern}"
        publishing.publish(new, site)
        said.append(("said", f"{account} is held under lease {file.lease}"))
        return file.lease


def _withdraw(directory: Gridmapdir, name: str, account: str, inode: int, site: SiteValues, said: Pairs) -> None:
    """Take the holder file of a link that is gone away."""
    from gridwarden.mapper import publishing  # noqa: PLC0415

    with _locked(directory, name):
        holder = publishing.published(account, site)
        status = directory.look(name)
        if holder and (holder.name, holder.inode) == (name, inode) and (status is None or status.st_ino != inode):
            try:
                holders.remove(site.holders, account)
            except FileNotFoundError:
                return
            said.append(("said", f"{account} is no longer held under lease {holder.lease}"))


@contextmanager
def _locked(directory: Gridmapdir, name: str) -> Iterator[None]:
    """``names.locked``, or no lock where the gridmapdir is read-only: nobody maps here then.

    What a machine that maps changes meanwhile, the next look sees, as it sees a release that this one is too early for.
    """
    from gridwarden.mapper import names  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            stack.enter_context(names.locked(directory, name))
        except Unavailable as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EROFS:
                raise
        yield
