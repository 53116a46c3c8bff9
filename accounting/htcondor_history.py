"""HTCondor's history, per-job history and epoch history files.  Pure.

An ad is lines of ``Attribute = expression``; a line ``*** KIND Key=Value…`` ends it, and says nothing of a kind for the
history of jobs.  In the epoch history a job has an ad for each run (kind EPOCH), among others for its file transfers.  A
file of a single job has no such line.  A job of the grid universe ran elsewhere: a computing element's ad of it is no job of
HTCondor's, and tells only whose the job of another batch system was.  Formats: src/condor_utils/{classadHistory,job_ad_instance_recording}.cpp, and the
files of 23.9.6, which were recorded.
"""

from __future__ import annotations

import re

from gridwarden.accounting import ce_claims, claims
from gridwarden.accounting.batch_records import HTCONDOR, Ignored, Job, Step
from gridwarden.accounting.claims import Claim
from gridwarden.accounting.classads import Ad, read
from gridwarden.times import MICROSECONDS

BANNER = "*** "
STATES = ("UNEXPANDED", "IDLE", "RUNNING", "REMOVED", "COMPLETED", "HELD", "TRANSFERRING_OUTPUT", "SUSPENDED")
# Kinds of ads beside those of jobs and their runs.
IGNORED = {
    "INPUT": "file transfer",
    "OUTPUT": "file transfer",
    "CHECKPOINT": "file transfer",
    "SPAWN": "start of a run",
    "STARTER": "start of a run",
}
# All that is read of an ad.
ATTRIBUTES = (
    "GlobalJobId", "ClusterId", "ProcId", "QDate", "Owner", "OsUser", "JobStatus", "JobUniverse", "RoutedToJobId", "GridJobId",
    "LastRemoteHost", "RemoteHost", "NumShadowStarts", "JobStartDate", "JobCurrentStartDate", "CompletionDate",
    "EnteredCurrentStatus", "ExitBySignal", "ExitSignal", "ExitCode", "CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu",
    "RemoteUserCpu", "RemoteSysCpu", "RemoteWallClockTime", "ResidentSetSize_RAW", "ResidentSetSize", "CpusProvisioned",
    "RequestCpus", "JobBatchName", "AccountingGroup", "x509userproxysubject", "x509UserProxyFirstFQAN",
    "x509UserProxyVOName", "AuthTokenIssuer", "orig_AuthTokenIssuer", "AuthTokenSubject", "orig_AuthTokenSubject",
)  # fmt: skip

GRID_UNIVERSE = 9
ROUTED = "routed to another job, which says more"
ELSEWHERE = "ran elsewhere, and says nothing of who"

_KIND = re.compile(r"\*\*\* +([A-Za-z_]+)(?: +|$)(?![ =])", re.ASCII)
_WRITTEN = re.compile(r"\bCurrentTime ?= ?(\d{1,12})", re.ASCII)
_SCHEDD = re.compile(r"([^#]+)#\d+\.\d+#\d+", re.ASCII)


def parse(text: str) -> Job | Step | Claim | Ignored:
    """Read an ad with its banner, if it has one; raises ValueError with the reason for one that cannot be understood."""
    # A user's own words may hold whatever else Unicode calls the end of a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    banner = lines.pop() if lines and lines[-1].startswith(BANNER) else ""
    kind = match[1] if (match := _KIND.match(banner)) else "JOB"
    if kind in IGNORED:
        return Ignored(IGNORED[kind])
    if kind not in {"JOB", "EPOCH"}:
        raise ValueError(f"no ad is known of kind {kind[:40]!r}")
    ad = read(lines)
    # Anybody can say that a job ran elsewhere; one that had a host has run, whatever it says. What ran elsewhere has none, though
    # JobRouter and gridmanager copy NumShadowStarts and CPU times from there.
    if not ad.text("LastRemoteHost", "RemoteHost"):
        if ad.number("JobUniverse") == GRID_UNIVERSE:
            return Ignored(ELSEWHERE) if kind == "EPOCH" else _of_computing_element(ad)
        if ad.text("RoutedToJobId"):
            return Ignored(ROUTED)
    return _run(ad, banner) if kind == "EPOCH" else _job(ad)


def _key(ad: Ad) -> tuple[str, str, str, int, int]:
    schedd = _SCHEDD.fullmatch(ad.text("GlobalJobId"))
    cluster, process, submit = ad.number("ClusterId"), ad.number("ProcId"), ad.instant("QDate")
    if schedd is None or cluster is None or process is None or submit is None:
        raise ValueError("GlobalJobId, ClusterId, ProcId or QDate is missing")
    return HTCONDOR, schedd[1], f"{cluster}.{process}", submit, 0


def _job(ad: Ad) -> Job:
    batch, schedd, job, submit, restart = _key(ad)
    account = _account(ad)
    status = ad.number("JobStatus")
    if not account or status is None or status >= len(STATES):
        raise ValueError("Owner or JobStatus is missing")
    # Cumulative is what all runs used; older versions say only what the last one did.
    user_cpu, system_cpu = (_cpu(ad, f"CumulativeRemote{part}", f"Remote{part}") for part in ("UserCpu", "SysCpu"))
    wall, memory = ad.amount("RemoteWallClockTime"), ad.number("ResidentSetSize_RAW", "ResidentSetSize")
    scheme, subject = _declared(ad)
    return Job(
        batch=batch,
        cluster=schedd,
        job=job,
        submit=submit,
        restart=restart,
        account=account,
        uid=None,
        start=ad.instant("JobStartDate"),
        end=ad.instant("CompletionDate", "EnteredCurrentStatus"),
        state=STATES[status],
        exit_code=_exit_code(ad),
        user_cpu=user_cpu,
        system_cpu=system_cpu,
        total_cpu=user_cpu + system_cpu,
        nodes=ad.text("LastRemoteHost").rpartition("@")[2],
        stamp="",
        name=ad.text("JobBatchName"),
        queue="",
        group_name="",
        project=ad.text("AccountingGroup"),
        submit_host=schedd,
        scheme=scheme,
        subject=subject,
        fqan=ad.text("x509UserProxyFirstFQAN"),
        vo=ad.text("x509UserProxyVOName"),
        cores=ad.number("CpusProvisioned", "RequestCpus"),
        wall=None if wall is None else round(wall * MICROSECONDS),
        memory=None if memory is None else memory << 10,
        slot=_slot(ad.text("LastRemoteHost")),
    )


def _of_computing_element(ad: Ad) -> Claim | Ignored:
    """Read the ad of a job that a computing element submitted to a batch system by BLAH, or to another schedd."""
    _, schedd, _, submit, _ = _key(ad)
    scheme, subject = _declared(ad)
    # "batch slurm slurm/20261122/4711", or "condor ce.example.org pool.example.org 123.0".
    last = ad.text("GridJobId").rpartition(" ")[2].rpartition("/")[2]
    if not subject or not last:
        return Ignored(ELSEWHERE)
    batch, job = ce_claims.lrms_job(last)
    account, fqan = _account(ad), ad.text("x509UserProxyFirstFQAN")
    node, vo = schedd.rpartition("@")[2].partition(".")[0], ad.text("x509UserProxyVOName") or claims.vo_of(fqan)
    until = ad.instant("CompletionDate", "EnteredCurrentStatus")
    of_job = Claim(claims.CE, claims.JOB, node, submit, account, scheme, subject, fqan, vo)
    return of_job._replace(batch=batch, job=job, until=until)


def _run(ad: Ad, banner: str) -> Step:
    run = re.search(r"\bRunInstanceId ?= ?(\d{1,9})", banner, re.ASCII)
    written = _WRITTEN.search(banner)
    user_cpu, system_cpu = _cpu(ad, "RemoteUserCpu"), _cpu(ad, "RemoteSysCpu")
    starts = ad.number("NumShadowStarts")
    account = _account(ad)
    if (run is None and not starts) or not account:
        raise ValueError("Owner, or RunInstanceId and NumShadowStarts, are missing")
    return Step(
        *_key(ad),
        step=f"run {run[1] if run else (starts or 1) - 1}",
        start=ad.instant("JobCurrentStartDate"),
        end=int(written[1]) * MICROSECONDS if written else ad.instant("EnteredCurrentStatus"),
        state="ENDED",
        user_cpu=user_cpu,
        system_cpu=system_cpu,
        total_cpu=user_cpu + system_cpu,
        nodes=ad.text("RemoteHost", "LastRemoteHost").rpartition("@")[2],
        slot=_slot(ad.text("RemoteHost", "LastRemoteHost")),
        account=account,
    )


def _account(ad: Ad) -> str:
    """Return the job's account: of a schedd that knows nothing of OsUser (23.9), that is whatever its owner set."""
    return ad.text("Owner", "OsUser").partition("@")[0]


def _slot(host: str) -> str:
    """Return the slot of ``slot1_1@n1``."""
    return host.rpartition("@")[0]


def _cpu(ad: Ad, *names: str) -> int:
    """Return CPU time in microseconds; HTCondor says whole seconds."""
    return round((ad.amount(*names) or 0) * MICROSECONDS)


def _exit_code(ad: Ad) -> str:
    """Return CODE:SIGNAL, as Slurm writes it; empty for a job that never ended by itself."""
    if ad.is_true("ExitBySignal"):
        return f"0:{ad.number('ExitSignal') or 0}"
    code = ad.number("ExitCode")
    return "" if code is None else f"{code}:0"


def _declared(ad: Ad) -> tuple[str, str]:
    """Return scheme and subject of the credential that the job came with."""
    if subject := ad.text("x509userproxysubject"):
        return "x509", subject
    issuer, sub = (
        ad.text("AuthTokenIssuer", "orig_AuthTokenIssuer"),
        ad.text("AuthTokenSubject", "orig_AuthTokenSubject"),
    )
    return ("token", f"{issuer},{sub}") if issuer and sub else ("", "")
