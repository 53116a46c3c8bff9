"""Check a gridmapdir, and carry out the repairs that are safe: one at a time, looked at again, recorded first.

What looks wrong may be another program's step in between, so everything is looked at twice, a moment apart.  A
repair holds the lock of the lease's name, as a mapping does, and judges the names concerned once more under it.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, ledger, syslog_line
from gridwarden.errors import ConfigurationError, GridwardenError, Refused, Unavailable
from gridwarden.mapper import check, cooling, findings, linking, names
from gridwarden.mapper.accounts import UsersReadOnce
from gridwarden.mapper.directory_view import WITHDRAWN, cooling_parts
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.survey import survey

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.directory_view import Seen
    from gridwarden.mapper.findings import Finding
    from gridwarden.mapper.site import SiteValues

SETTLING_SECONDS = 4 * linking.LONGEST_PAUSE_SECONDS
ROUNDS = 4  # a repair can bring to light what it hid; no chain of them is longer

REPAIRED = "repaired"
REPAIRABLE = "repairable"
LOOK = "look"
KNOWN = "known"
FAILED = "failed"


class Outcome(NamedTuple):
    """A finding, and what became of it.

    ``state`` is repaired, repairable, look (a person must), known (no fault where programs share the directory) or
    failed; ``what`` says what was done, would be, or should be.
    """

    finding: Finding
    state: str
    what: str


def check_directory(
    site: SiteValues, pools: tuple[str, ...], *, repair: bool = False, users: Users | None = None
) -> list[Outcome]:
    """All that is not consistent, and with ``repair`` what was done about it.

    Raises Unavailable, ConfigurationError, EvidenceError; what was repaired before that stays repaired.
    """
    done: list[Outcome] = []
    users = users or UsersReadOnce()
    with Gridmapdir(site.gridmapdir) as directory:
        seen, found = settled(directory, site, pools, users)
        for _ in range(ROUNDS if repair else 0):
            mended = [mend(directory, finding, seen, site, users) for finding in found if finding.repair]
            done += [outcome for outcome in mended if outcome]
            if not any(mended):
                break
            seen, found = settled(directory, site, pools, users)
    failed = {outcome.finding for outcome in done if outcome.state == FAILED}
    return done + [open_finding(finding) for finding in found if finding not in failed]


def settled(
    directory: Gridmapdir, site: SiteValues, pools: tuple[str, ...], users: Users
) -> tuple[Seen, list[Finding]]:
    """What is wrong now and was a moment ago."""
    before = check.judge(survey(directory, site, pools, users))
    if before:
        time.sleep(SETTLING_SECONDS)
    seen = survey(directory, site, pools, users)
    return seen, [finding for finding in check.judge(seen) if finding in set(before)]


def open_finding(finding: Finding) -> Outcome:
    """A finding about which nothing was done."""
    if finding.kind in findings.NOT_FAULTS:
        return Outcome(finding, KNOWN, finding.remedy)
    if finding.repair:
        return Outcome(finding, REPAIRABLE, findings.REPAIRS[finding.repair])
    return Outcome(finding, LOOK, finding.remedy)


def mend(directory: Gridmapdir, finding: Finding, seen: Seen, site: SiteValues, users: Users) -> Outcome | None:
    """Repair one finding; None when it is no longer there.  What stands in the way of one does not of the others."""
    try:
        with lock(directory, finding.name, seen):
            return mend_locked(directory, finding, seen, site, users)
    except (Refused, Unavailable) as error:
        return Outcome(finding, FAILED, str(error))


def mend_locked(directory: Gridmapdir, finding: Finding, seen: Seen, site: SiteValues, users: Users) -> Outcome | None:
    """``mend`` under the lock of the lease's name."""
    what = findings.REPAIRS[finding.repair]
    now = survey(directory, site, seen.pools, users, only=concerned(finding, seen))
    if finding not in check.judge(now):
        return None
    fields: dict[str, str | int | None] = {
        "what": finding.kind, "name": finding.name, "account": finding.account, "detail": f"{what}: {finding.detail}",
    }  # fmt: skip
    seq, head = ledger.append(site.ledger, "repair", fields, node=site.node, cluster=site.cluster)
    try:
        act(directory, finding, now, site)
        directory.sync()
    except (GridwardenError, OSError) as error:
        syslog_line.decision("repair", FAILED, **fields | {"detail": str(error)}, seq=seq, head=head)
        return Outcome(finding, FAILED, str(error))
    syslog_line.decision("repair", REPAIRED, **fields, seq=seq, head=head)
    return Outcome(finding, REPAIRED, what)


def concerned(finding: Finding, seen: Seen) -> set[str]:
    """The names on which a finding rests: its own, its account's, and all that lead to the same files."""
    inodes = {seen.files[name].inode for name in (finding.name, finding.account) if name in seen.files}
    same = {name for name, file in seen.files.items() if file.inode in inodes}
    cold = {
        name for name in seen.files if name.startswith(cooling.PREFIX) and cooling_parts(name)[0] == finding.account
    }
    return {finding.name, finding.account} | same | cold


def lock(directory: Gridmapdir, name: str, seen: Seen) -> AbstractContextManager[None]:
    """The lock under which mappings of this lease name work; a name that gridwarden never used has none."""
    return directory.lock_own(names.NAMES, name) if name in seen.claims else nullcontext()


def act(directory: Gridmapdir, finding: Finding, now: Seen, site: SiteValues) -> None:
    """Carry out a finding's repair; raises GridwardenError, OSError."""
    name, account = finding.name, finding.account
    if finding.repair == findings.RESTORE_ACCOUNT:
        directory.link(name, account)
    elif finding.repair == findings.RESTORE_LEASE:
        linking.try_account(directory, account, name)
    elif finding.repair == findings.TAKE_AWAY:
        take_away(directory, name, now.files[name].inode)
    elif finding.repair == findings.WRITE_LEASE_FILE:
        names.write_lease(directory, name, right_lease_file(name, account, now))
    elif finding.repair == findings.REMOVE_LEASE_FILE:
        names.forget_lease(directory, name)
    elif finding.repair == findings.WRITE_CLAIM and (lease := now.leases[name]):
        directory.create_own(names.NAMES, name, names.exact(lease))
    elif finding.repair == findings.WRITE_HOLDER:
        holder = now.holders[account]
        holder.inode = now.files[account].inode
        holders.publish(site.holders, holder, site.holders_group)
    elif finding.repair == findings.REMOVE_FILE:
        _, kind, file = name.split("/")
        directory.remove_own(kind, file)
    elif finding.repair == findings.REMOVE_HOLDER:
        holders.remove(site.holders, account)


def take_away(directory: Gridmapdir, name: str, inode: int) -> None:
    """Remove a link: renamed first, so that one that another program made meanwhile is seen and put back."""
    withdrawn = f"{WITHDRAWN}{os.urandom(8).hex()}"
    if directory.rename(name, withdrawn, inode):
        directory.unlink(withdrawn, inode)
    elif other := directory.look(withdrawn):
        directory.link(withdrawn, name)
        directory.unlink(withdrawn, other.st_ino)


def right_lease_file(name: str, account: str, now: Seen) -> names.LeaseFile:
    """What the lease file of a link should say: the holder file decides, else the old one for that account.

    Raises ConfigurationError when holder file and registry name different people.
    """
    inode = now.files[name].inode
    claim = now.claims.get(name)
    holder, old = now.holders.get(account), now.leases.get(name)
    if holder and (holder.name, holder.inode) == (name, inode):
        whose = (holder.scheme, holder.subject, holder.vo, " ".join(holder.fqans))
        file = names.LeaseFile(holder.lease, account, inode, holder.since, *whose)
        if claim not in (None, names.exact(file)):
            raise ConfigurationError(
                f"{account}: its holder file says {holder.scheme} {holder.subject}, .gridwarden/names/{name} another",
                "look whose jobs and files the account has, and remove what is wrong",
            )
        return file
    if old is None:
        raise FileNotFoundError(2, os.strerror(2), name)
    return old._replace(inode=inode)
