"""Who is behind a job, as far as this machine's own files tell: the holder file, and the link where it can be seen."""

from __future__ import annotations

import os
import pwd
import stat
import time

from gridwarden import holders, reasons
from gridwarden.errors import GridwardenError, Refused

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.holders import Holder
    from gridwarden.hooks.job import Job, Site
    from gridwarden.records import Value

    Observation = tuple[str, dict[str, Value]]

ASK_SECONDS = 1.0  # for the agent's answer
HOLDER_SECONDS = 4.0  # for its look
PAUSE_SECONDS = 0.05


def read_holder(job: Job, site: Site) -> Holder:
    """The holder, as far as this machine's own files tell; raises Refused."""
    try:
        entry = pwd.getpwnam(job.account)
    except KeyError as error:
        raise Refused(reasons.ACCOUNT_UNKNOWN, f"{job.account} has no passwd entry here") from error
    holder = holders.read(site["holders"][0], job.account)
    if not job.uid == holder.uid == entry.pw_uid:
        detail = f"{job.account}: the job's uid is {job.uid}, the holder's {holder.uid}, passwd's {entry.pw_uid}"
        raise Refused(reasons.HOLDER_INVALID, detail)
    if job.stamp and job.stamp != holder.lease and holder.verdict != holders.BANNED:
        detail = f"{job.account}: the job carries {job.stamp}, the holder's lease is {holder.lease}"
        raise Refused(reasons.STAMP_MISMATCH, detail)
    return holder


def read_banned(job: Job, site: Site) -> Holder | None:
    """The job's holder where the holder file, by itself, says that it is banned."""
    try:
        holder = holders.read(site["holders"][0], job.account)
    except (GridwardenError, OSError):
        return None
    return holder if holder.verdict == holders.BANNED and holder.uid == job.uid else None


def comes(error: BaseException, job: Job, site: Site) -> bool:
    """Whether a holder that was missing is there once this machine's agent has looked, as it is asked to.

    Another machine may have lent the account a second ago, and the agent looks every half a minute by itself.
    """
    if not (isinstance(error, Refused) and error.reason == reasons.HOLDER_MISSING):
        return False
    from gridwarden import agent_client  # noqa: PLC0415 - rare

    if not agent_client.look_for_holders(site.get("agent_socket", [""])[0], ASK_SECONDS):
        return False
    until = time.monotonic() + HOLDER_SECONDS
    while not os.path.lexists(os.path.join(site["holders"][0], job.account)):
        if time.monotonic() >= until:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def confirm_link(holder: Holder, site: Site) -> bool:
    """Whether the gridmapdir confirmed the holder; False where it is not asked; raises Refused if it denies.

    Also keeps the lease fresh: mapping programs and the site take an account's file time for its last use.
    """
    if not holder.name or site["gridmapdir_local"] != ["yes"]:
        return False
    directory = os.open(site["gridmapdir"][0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        account = os.stat(holder.account, dir_fd=directory, follow_symlinks=False)
        name = os.stat(holder.name, dir_fd=directory, follow_symlinks=False)
        same = account.st_ino == name.st_ino == holder.inode and account.st_dev == name.st_dev
        if not (same and account.st_nlink == 2 and stat.S_ISREG(account.st_mode)):
            raise Refused(reasons.HOLDER_NOT_LINKED, f"{holder.account} is not linked to {holder.name}")
        os.utime(holder.account, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError as error:
        detail = f"{holder.account} or {holder.name} is not in {site['gridmapdir'][0]}"
        raise Refused(reasons.HOLDER_NOT_LINKED, detail) from error
    finally:
        os.close(directory)
    return True


def seen(holder: Holder, *, linked: bool) -> Observation:
    """The record of this observation of a holder, with the link's inode where that was looked at."""
    inode = holder.inode if linked else None
    return "observation", {"account": holder.account, "lease": holder.lease, "name": holder.name, "inode": inode}


def seen_at_end(job: Job, site: Site) -> list[Observation]:
    """Who holds the account now: whether it changed hands while the job ran; nothing where that cannot be told."""
    try:
        holder = holders.read(site["holders"][0], job.account)
    except (GridwardenError, OSError):
        return []
    try:
        return [seen(holder, linked=confirm_link(holder, site))]
    except (GridwardenError, OSError):
        return linked_otherwise(holder, site)


def linked_otherwise(holder: Holder, site: Site) -> list[Observation]:
    """Under which names but the holder's the account is linked: another program lent it; nothing where that cannot be told.

    The holder's own comes first, where it is linked to that as well.  The whole directory is read for that, so only where
    the link was denied.
    """
    if not holder.name or site["gridmapdir_local"] != ["yes"]:
        return []
    try:
        directory = os.open(site["gridmapdir"][0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            inode = os.stat(holder.account, dir_fd=directory, follow_symlinks=False).st_ino
            with os.scandir(directory) as entries:
                names = [entry.name for entry in entries if entry.name[0] == "%" and entry.inode() == inode]
        finally:
            os.close(directory)
    except OSError:
        return []
    others = sorted(name for name in names if name != holder.name)
    leases = {holder.name: holder.lease} if others and holder.name in names else {}
    leases.update(dict.fromkeys(others, ""))
    return [
        ("observation", {"account": holder.account, "lease": lease, "name": name, "inode": inode})
        for name, lease in leases.items()
    ]
