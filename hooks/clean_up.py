"""Clear processes and files away after a pool account's last job on a machine, each with its record.

The caller holds the account's lock and knows that nothing of the account may live here.
"""

from __future__ import annotations

import pwd

from gridwarden.prune import kill, remove, signals

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.job import Job, Site
    from gridwarden.records import Value

KILL_SECONDS = 10.0
REMOVE_SECONDS = 20.0
MOST_RECORDS = 1000  # of one kind in one clean-up; what is beyond is counted in a gap record


def clear(job: Job, site: Site, lease: str) -> None:
    """Kill what runs as the account and remove what it owns in scratch; record what went and what is left.

    ``lease`` is that of the account's last job.  Raises EvidenceError, ConfigurationError.
    """
    gid = pwd.getpwnam(job.account).pw_gid
    processes = kill.empty_account(job.uid, gid, KILL_SECONDS)
    killed: list[dict[str, Value]] = [
        {
            "pid": process.pid,
            "process_start": process.started(),
            "command": process.command,
            "signal": signals.SIGKILL,
        }
        for process in processes.killed.values()
    ]
    at = _record(job, site, lease, "kill", killed)
    for fact in killed[:MOST_RECORDS]:
        job.log("kill", "killed", at, lease=lease, **fact)
    _report_left(job, site, processes.left)
    removed, left = remove.sweep(job.uid, gid, site.get("scratch", []), REMOVE_SECONDS)
    if removed:
        at = _record(job, site, lease, "removed", [{"path": path} for path in removed])
        job.log("clean-up", "removed", at, lease=lease, files=len(removed))
    _report_left(job, site, left)


def _record(job: Job, site: Site, lease: str, kind: str, facts: list[dict[str, Value]]) -> tuple[int, str] | None:
    """Append one record a fact; the number and hash of the last."""
    about: dict[str, Value] = {
        "account": job.account,
        "uid": job.uid,
        "lease": lease,
        "batch": job.batch,
        "job": job.job,
    }
    at = None
    if facts:
        at = job.record_all(site, [(kind, {**about, **fact}) for fact in facts[:MOST_RECORDS]])
    if len(facts) > MOST_RECORDS:
        at = job.gap(site, f"{kind} records", f"there are {len(facts) - MOST_RECORDS} more")
    return at


def _report_left(job: Job, site: Site, left: list[tuple[str, str]]) -> None:
    """Record what is left, each with why, as gaps."""
    gaps = [(f"clean-up: {what}", why) for what, why in left[:MOST_RECORDS]]
    if len(left) > MOST_RECORDS:
        gaps.append(("clean-up", f"{len(left) - MOST_RECORDS} more are left"))
    if gaps:
        at = job.gaps(site, gaps)
        for what, why in gaps:
            job.log("clean-up", "left", at, detail=f"{what}: {why}")
