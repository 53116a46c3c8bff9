"""What a child does at the start and at the end of a job whose hooks are not root's: the work of a prolog and an epilog."""

from __future__ import annotations

import os
import pwd
import time

from gridwarden import holders, off, proc, tab_file
from gridwarden.batch import htcondor
from gridwarden.errors import GridwardenError, Unavailable
from gridwarden.hooks import job as batch_job
from gridwarden.hooks.agent.starters import BANNED, DOUBT, OK
from gridwarden.hooks.pilot import begin_end
from gridwarden.prune.payload_recovery import recover_all

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.agent.started import Started
    from gridwarden.hooks.job import Site

ASK_SECONDS = 10.0
PAYLOADS_SECONDS = 60.0  # of starters.END_SECONDS, for payloads of whomever and however many
STAMP_LENGTH = 32
HEX = frozenset("0123456789abcdef")


def begin(site: Site, started: Started, claimed: str, stamp: str, restart: str) -> bytes:
    """Verify and record a job's start; a tab file: ``outcome``, the job's fields once it is known, or a ``detail``.

    A job of nobody, or of somebody banned, has no ``lease``; it is in the register all the same, until its starter ends.
    """
    fields: dict[str, str] = {}
    try:
        job = _job(site, started, claimed, stamp, restart)
        fields = {"batch": job.batch, "job": job.job, "restart": str(job.restart), "account": job.account, "lease": ""}
        holder = batch_job.start(job, site)
    except (GridwardenError, OSError, KeyError) as error:
        return _said(DOUBT, **fields, detail=str(error) or type(error).__name__)
    if holder.verdict == holders.BANNED:
        return _said(BANNED, **fields, detail=f"banned: {holder.because}")
    return _said(OK, **fields | {"lease": holder.lease})


def end(site: Site, started: Started) -> bytes:
    """Record a job's end, and clear up if it was the account's last one here."""
    uid = started.uid
    job = batch_job.Job(
        batch=started.batch,
        cluster=site["cluster"][0],
        node=os.uname().nodename,
        job=started.job,
        restart=started.restart,
        account=started.account,
        uid=uid,
        exit_code=started.exit_code,
    )
    until = time.monotonic() + PAYLOADS_SECONDS
    left = recover_all(site, begin_end.finish, lambda _: time.monotonic() < until) if "payloads" in site else ()
    for payload, why in left:
        job.log("job-end", "left", detail=f"{payload}: {why}")  # HTCondor kills a pilot's launchers with all its job
    try:
        batch_job.end(job, site, lambda known: _runs_elsewhere(site, job, known))
    except (GridwardenError, OSError) as error:
        job.log("job-end", "error", detail=str(error))
        job.gap(site, "end", str(error))
    return _said(OK)


def _job(site: Site, started: Started, claimed: str, stamp: str, restart: str) -> batch_job.Job:
    """The job that the startd says the starter runs; raises Unavailable, KeyError for an unknown uid."""
    process = proc.read(started.pid)
    if process is None or process.start != started.start:
        raise Unavailable("what started the job has ended")
    found = htcondor.job_of(process, site, ASK_SECONDS)
    if claimed and found.declared not in (claimed, htcondor.ODD):
        raise Unavailable(f"its hook calls it {claimed}, the startd {found.declared}")
    return batch_job.Job(
        batch="htcondor",
        cluster=site["cluster"][0],
        node=os.uname().nodename,
        job=found.job,
        restart=int(restart) if restart.isascii() and restart.isdigit() and len(restart) < 10 else 0,
        account=pwd.getpwuid(started.uid).pw_name,
        uid=started.uid,
        stamp=stamp if len(stamp) == STAMP_LENGTH and HEX.issuperset(stamp) else "",
    )


def _runs_elsewhere(site: Site, job: batch_job.Job, known: set[tuple[str, str]]) -> bool | None:
    """Whether the batch system runs something else of the account here; None where that cannot be told."""
    if off.switch("prune"):
        return None
    answer = htcondor.jobs_here(site, ASK_SECONDS)
    if answer.unknown:
        return None
    others = [each for each in answer.jobs if each.job != job.job and (each.node, each.job) not in known]
    return any(each.owner in (job.uid, None) for each in others)


def _said(outcome: str, **fields: str) -> bytes:
    return tab_file.encode([("outcome", outcome), *fields.items()])
