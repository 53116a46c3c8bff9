"""What a ban does at once to whom it hits: their jobs are stopped, and on request lease and evidence stay as they are.

A pool account is lent to one person at a time, so all its jobs are theirs.  Payloads inside pilots are ended by their
own launchers (hooks.pilot.ban_watch).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holds, ledger, syslog_line, trusted
from gridwarden.batch import slurm_cancel
from gridwarden.mapper.publishing import is_published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.holders import Holder
    from gridwarden.mapper.site import SiteValues

SECONDS = 50.0  # Slurm kills what goes on after its KillWait, 30 s where a site has not said otherwise


class Stopped(NamedTuple):
    """The jobs of an account that were cancelled, or would be, and those that are not gone yet."""

    account: str
    jobs: list[str]
    left: list[str]


def stop_jobs(held: Sequence[Holder], why: str, site: SiteValues, programs: str, *, dry_run: bool) -> list[Stopped]:
    """Cancel all jobs of these holders, each put on record before; raises Unavailable, EvidenceError."""
    lent = {holder.account: holder for holder in held if dry_run or is_published(holder, site)}
    stopped: dict[str, list[str]] = {account: [] for account in lent}
    uids = {account: holder.uid for account, holder in lent.items()}
    if dry_run:
        return [Stopped(account, slurm_cancel.jobs_of(account, uid, programs), []) for account, uid in uids.items()]

    def note(account: str, jobs: list[str]) -> None:
        lease = lent[account].lease
        fields = [{"batch": "slurm", "job": job, "account": account, "lease": lease, "reason": why} for job in jobs]
        ledger.append_all(
            site.ledger, [("cancel", dict(each)) for each in fields], node=site.node, cluster=site.cluster
        )
        for each in fields:
            syslog_line.decision("ban", "cancelled", **each)
        stopped[account] += jobs

    left = slurm_cancel.cancel_all(uids, programs, SECONDS, note)
    return [Stopped(account, jobs, left.get(account, [])) for account, jobs in stopped.items()]


def hold(named: Sequence[str], why: str, site: SiteValues, *, dry_run: bool) -> list[str]:
    """Put accounts on hold on this machine; those that were not yet.

    Raises EvidenceError when that could not be recorded: they are on hold all the same; OSError, ConfigurationError.
    """
    accounts = [account for account in named if not holds.why_held(site.holds, account)]
    if dry_run:
        return accounts
    for account in accounts:
        trusted.replace_file(os.path.join(site.holds, account), f"{why}\n".encode("utf-8", "surrogateescape"), 0o600)
    entries = [("hold", {"batch": "", "job": "", "account": account, "reason": why}) for account in accounts]
    if entries:
        ledger.append_all(
            site.ledger, [(kind, dict(each)) for kind, each in entries], node=site.node, cluster=site.cluster
        )
    for account in accounts:
        syslog_line.decision("hold", "added", account=account, because=why)
    return accounts
