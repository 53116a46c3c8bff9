"""Start and end of a batch job on this machine, the same for every batch system.

A batch system's own hook reads what it was told into a ``Job``, calls ``start`` or ``end``, and does with
the answer what that system and the site ask for.
"""

from __future__ import annotations

import os
import time

from gridwarden import holders, ledger, pools, register, syslog_line
from gridwarden.errors import GridwardenError
from gridwarden.hooks import job_holder

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.holders import Holder
    from gridwarden.records import Value

    Site = dict[str, list[str]]

NOT_ENTERED = "no prolog had entered it in the register of running jobs, or the register was lost with its machine"
LOCK_SECONDS = 60.0  # longer than the clean-up of the account's last job may take under this lock


class Job:
    """A batch job as its hook was told of it.

    ``stamp`` is the lease id that the job carries, a claim, or "" where it carries none; ``batch_start`` is
    in seconds since the epoch, None where the batch system does not say; ``exit_code`` is its own notation.
    """

    __slots__ = (
        "account", "batch", "batch_start", "cluster", "exit_code", "job", "node", "restart", "stamp", "uid",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one argument a field
        self,
        *,
        batch: str,
        cluster: str,
        node: str,
        job: str,
        restart: int,
        account: str,
        uid: int,
        stamp: str = "",
        batch_start: int | None = None,
        exit_code: str = "",
    ) -> None:
        self.batch = batch
        self.cluster = cluster
        self.node = node
        self.job = job
        self.restart = restart
        self.account = account
        self.uid = uid
        self.stamp = stamp
        self.batch_start = batch_start
        self.exit_code = exit_code

    def record(self, site: Site, kind: str, **fields: Value) -> tuple[int, str]:
        """Append a record of this job's node; its number and hash.  Raises EvidenceError, ConfigurationError."""
        return self.record_all(site, [(kind, fields)])

    def record_all(self, site: Site, entries: list[tuple[str, dict[str, Value]]]) -> tuple[int, str]:
        """Append several; the number and hash of the last.  Raises EvidenceError, ConfigurationError."""
        return ledger.append_all(site["ledger"][0], entries, node=self.node, cluster=self.cluster)

    def gap(self, site: Site, what: str, reason: str) -> tuple[int, str]:
        """Record that evidence about this job is missing; raises EvidenceError, ConfigurationError."""
        return self.record_all(site, [self.gap_entry(what, reason)])

    def gap_entry(self, what: str, reason: str) -> tuple[str, dict[str, Value]]:
        """The record of a gap, to be appended."""
        what = f"{what} of {self.batch} job {self.job}, account {self.account}"
        return "gap", {"what": what, "reason": reason, "bytes": None, "sha256": None}

    def log(self, event: str, outcome: str, at: tuple[int, str] | None = None, **fields: str | int | None) -> None:
        """One syslog line about this job; ``at`` is the number and hash of the record that says the same."""
        about: dict[str, Value] = {"batch": self.batch, "job": self.job, "account": self.account, "node": self.node}
        seq, head = at or (None, None)
        syslog_line.decision(event, outcome, **about, **fields, seq=seq, head=head)

    def register_name(self) -> str:
        """The name of this job's entry in the local register."""
        return register.file_name(self.batch, self.cluster, self.node, self.job)


def is_pool_account(account: str, site: Site) -> bool:
    """Whether ``account`` is one that a pool lends: the pool's prefix and digits."""
    return any(pools.is_of_pool(account, pool) for pool in site["pool"])


def concerns(account: str, site: Site) -> bool:
    """Whether a job of ``account`` is any of gridwarden's business: pool accounts, and fixed ones in use."""
    return (
        is_pool_account(account, site)
        or os.path.lexists(os.path.join(site["holders"][0], account))
        or os.path.lexists(os.path.join(site["register"][0], account))
    )


def start(job: Job, site: Site) -> Holder:
    """Verify who is behind a starting job, enter it in the register, record it; returns its holder.

    A banned holder is returned with nothing recorded: the caller must not let the job run.  Raises Refused
    (account-unknown, holder-*, stamp-mismatch), EvidenceError, ConfigurationError, Unavailable or OSError;
    wherever possible the job is in the register then too, so that no clean-up hits it.
    """
    try:
        return _start(job, site)
    except BaseException as error:  # a hook's deadline as well: a ban needs neither lock nor ledger
        if (holder := job_holder.read_banned(job, site)) is not None:
            return holder
        if not job_holder.comes(error, job, site):
            raise
    return _start(job, site)


def end(job: Job, site: Site, runs_elsewhere: Callable[[set[tuple[str, str]]], bool | None]) -> None:
    """Record a job's end; clear processes and files away when it was the pool account's last one here.

    ``runs_elsewhere`` says whether the batch system runs something of this account here that the register
    does not list, given the (node, job) pairs listed for others; None when it cannot tell.  Raises as
    ``start`` does; then nothing more was cleared than is recorded.
    """
    with register.AccountLock(site["locks"][0], job.account, LOCK_SECONDS):
        lease = _leave(job, site)

        def runs() -> bool | None:
            others = {
                (entry.node, entry.job)
                for entry in register.everything(site["register"][0])
                if entry.batch == job.batch and entry.account != job.account
            }
            return runs_elsewhere(others)

        clear_if_last(job, site, lease, runs)


def clear_if_last(job: Job, site: Site, lease: str, runs_elsewhere: Callable[[], bool | None]) -> None:
    """Clear away what the account runs and left when ``job``, no longer in the register, was its last one here.

    ``runs_elsewhere`` as for ``end``.  The caller holds the account's lock.
    Raises EvidenceError, ConfigurationError.
    """
    if not is_pool_account(job.account, site) or register.jobs_of(site["register"][0], job.account):
        return
    if site.get("prune_epilog") == ["no"]:
        return
    from gridwarden import off  # noqa: PLC0415 - a prolog has no use for it

    if switched := off.switch(off.PRUNE):
        job.log("clean-up", "left", job.gap(site, "clean-up", str(switched)), detail=str(switched))
        return
    running = runs_elsewhere()
    if running is False:
        from gridwarden.hooks.clean_up import clear  # noqa: PLC0415 - a prolog has no use for it

        clear(job, site, lease)
        return
    why = "a job that is not in the register runs" if running else "it cannot be told what runs here"
    job.log("clean-up", "left", job.gap(site, "clean-up", why), detail=why)


def enter(job: Job, site: Site, lease: str) -> None:
    """Enter a job that starts now in the register of this machine; raises OSError."""
    entry = register.Entry(
        batch=job.batch,
        cluster=job.cluster,
        node=job.node,
        job=job.job,
        restart=job.restart,
        account=job.account,
        uid=job.uid,
        lease=lease,
        start=time.time_ns() // 1000,
        boot=ledger.boot_id(),
    )
    register.enter(site["register"][0], entry)


def _start(job: Job, site: Site) -> Holder:
    holder = None
    with register.AccountLock(site["locks"][0], job.account, LOCK_SECONDS):
        try:
            holder = job_holder.read_holder(job, site)
            linked = holder.verdict != holders.BANNED and job_holder.confirm_link(holder, site)
        except (GridwardenError, OSError):
            enter(job, site, "")
            if holder is not None and (others := job_holder.linked_otherwise(holder, site)):
                job.record_all(site, others)
            raise
        enter(job, site, holder.lease)
        if holder.verdict != holders.BANNED:
            _record_start(job, site, holder, linked=linked)
    return holder


def _record_start(job: Job, site: Site, holder: Holder, *, linked: bool) -> None:
    started: dict[str, Value] = {
        **_about(job, holder.lease),
        "scheme": holder.scheme,
        "subject": holder.subject,
        "vo": holder.vo,
        "stamp": job.stamp,
        "evidence": "holder+link" if linked else "holder",
        "batch_start": job.batch_start,
    }
    seen = [job_holder.seen(holder, linked=True)] if linked else []
    at = job.record_all(site, [("job_start", started), *seen])
    job.log("job-start", "started", at, lease=holder.lease, subject=holder.subject, vo=holder.vo)


def _leave(job: Job, site: Site) -> str:
    """Record the end and take the job out of the register; its lease id, or "" if none was known."""
    name = job.register_name()
    entry = next(
        (entry for entry in register.jobs_of(site["register"][0], job.account) if entry.file_name() == name), None
    )
    # A node that was lost ends the run that it lost once it is back; by then the job may be running there again.
    later = entry is not None and entry.restart > job.restart
    lease = entry.lease if entry and not later else ""
    ended: dict[str, Value] = {**_about(job, lease), "exit_code": job.exit_code}
    missed = [job.gap_entry("start", NOT_ENTERED)] if entry is None and is_pool_account(job.account, site) else []
    try:
        at = job.record_all(site, [*missed, *job_holder.seen_at_end(job, site), ("job_end", ended)])
    finally:
        if not later:
            register.leave(site["register"][0], job.account, name)
    if missed:
        job.log("prolog", "missed", reason=NOT_ENTERED)
    job.log("job-end", "ended", at, lease=lease, exit_code=job.exit_code)
    return lease


def _about(job: Job, lease: str) -> dict[str, Value]:
    about: dict[str, Value] = {"batch": job.batch, "job": job.job, "restart": job.restart}
    return {**about, "account": job.account, "uid": job.uid, "lease": lease}
