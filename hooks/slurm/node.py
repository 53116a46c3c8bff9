"""Slurm's Prolog and Epilog: what slurmd runs as root on a node before and after a job.

``gridwarden hooks install`` writes the programs that call ``main``.  slurmd drains the node when one of them
ends with another code than 0, so that is kept for what the site or a ban asks for.  docs/slurm-behaviour.md
has what Slurm does in each case, as seen.
"""

from __future__ import annotations

import os
import time

from gridwarden import holders, node_file, syslog_line
from gridwarden.errors import ConfigurationError, GridwardenError, Refused
from gridwarden.hooks import job as batch_job
from gridwarden.hooks.slurm import deadline, variables
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gridwarden.hooks.job import Job, Site

PASS, FAIL = 0, 1
OFF = "/etc/gridwarden/off/hooks"  # gridwarden.off, which nobody loads while nothing is there


def main(context: str) -> int:
    """Run the "prolog" or the "epilog"; the exit code for slurmd."""
    os.umask(0o022)
    try:
        return run(context, os.environ, node_file.PATH)
    except (Exception, deadline.Overdue) as error:  # noqa: BLE001 - a fault of ours must not drain the node
        _complain(context, "error", str(error) or type(error).__name__)
        return PASS


def run(context: str, environment: Mapping[str, str], node_file_path: str) -> int:
    """``main`` for the given environment and node file."""
    if os.path.lexists(OFF) and _is_off(context, environment):
        return PASS
    try:
        site = node_file.read(node_file_path)
    except (ConfigurationError, OSError) as error:
        _complain(context, "unconfigured", str(error))
        return PASS
    work, _ = deadline.parts_of(site)
    began = time.monotonic()
    if context == "epilog":
        _see_to_payloads(environment, site, min(work / 2, deadline.PAYLOADS_SECONDS))
    account = environment.get("SLURM_JOB_USER", "")
    if account and not (variables.is_name(account) and batch_job.concerns(account, site)):
        return PASS
    job = read_job(environment, site["cluster"][0])
    act: Callable[[Job, Site], int] = prolog if context == "prolog" else epilog
    try:
        deadline.arm(max(began + work - time.monotonic(), 1))
        return act(job, site)
    except (Exception, deadline.Overdue) as error:  # noqa: BLE001 - also for a fault of ours the site's choice holds
        return on_failure(context, job, site, error)
    finally:
        deadline.disarm()


def read_job(environment: Mapping[str, str], cluster: str) -> Job:
    """The job that slurmd's variables describe; raises ConfigurationError when they are not slurmd's.

    SLURM_JOB_START_TIME came with 24.05.
    """
    start = variables.number(environment, "SLURM_JOB_START_TIME", "0")
    return batch_job.Job(
        batch="slurm",
        cluster=cluster,
        node=variables.name(environment, "SLURMD_NODENAME"),
        job=str(variables.number(environment, "SLURM_JOB_ID")),
        restart=variables.number(environment, "SLURM_JOB_RESTART_COUNT", "0"),
        account=variables.name(environment, "SLURM_JOB_USER"),
        uid=variables.number(environment, "SLURM_JOB_UID"),
        stamp=variables.stamp(environment),
        batch_start=start or None,
        exit_code=environment.get("SLURM_JOB_EXIT_CODE2", ""),
    )


def prolog(job: Job, site: Site) -> int:
    """Let the job start, or keep it from running a single instruction."""
    holder = batch_job.start(job, site)
    if holder.verdict != holders.BANNED:
        return PASS
    return stop(job, site, "cancel", holder.lease, f"banned: {holder.because}")


def epilog(job: Job, site: Site) -> int:
    """Record the end, and clear up after the account's last job on this machine."""
    from gridwarden.batch import slurm  # noqa: PLC0415 - a prolog has no use for it

    spool = site["slurm_spool"][0]
    batch_job.end(job, site, lambda known: slurm.runs_as(job.uid, spool, known, job.job))
    return PASS


def on_failure(context: str, job: Job, site: Site, error: BaseException) -> int:
    """Do what the site chose for a hook that cannot do its work, or has not done it in time."""
    choice = site[f"{context}_on_failure"][0]
    try:
        deadline.arm(deadline.parts_of(site)[1])
        return _on_failure(context, choice, job, site, error)
    except deadline.Overdue:
        return PASS if choice == "record-gap" else FAIL


def _on_failure(context: str, choice: str, job: Job, site: Site, error: BaseException) -> int:
    reason = error.reason if isinstance(error, Refused) else type(error).__name__
    if choice in ("cancel", "requeue-held") and context == "prolog":
        return stop(job, site, choice, "", str(error))
    at = None
    try:
        at = job.gap(site, "start" if context == "prolog" else "end", str(error))
    except (GridwardenError, OSError, deadline.Overdue) as worse:
        job.log(context, "unrecorded", detail=str(worse))
    job.log(context, choice, at, reason=reason, detail=str(error))
    return FAIL if choice == "drain" else PASS


def stop(job: Job, site: Site, choice: str, lease: str, reason: str) -> int:
    """Cancel the job, or put it back held; a job that cannot be put back is cancelled.

    When the controller does not answer in time, slurmd does not hear of it in time, or anything else goes wrong, the exit
    code drains the node and Slurm puts the job back held: a job that must not run does not, whatever that costs.
    """
    try:
        deadline.arm(deadline.parts_of(site)[1])
        code = _stop(job, site, choice, lease, reason)
        deadline.disarm()
    except (Exception, deadline.Overdue) as error:  # noqa: BLE001 - a fault of ours must not let the job run
        deadline.disarm()
        _complain("prolog", "drained", f"job {job.job}: {reason}: {error}")
        return FAIL
    return code


def _stop(job: Job, site: Site, choice: str, lease: str, reason: str) -> int:
    from gridwarden.hooks.slurm import controller  # noqa: PLC0415 - rare, and not for the usual prolog to pay

    at = None
    try:
        if choice == "cancel":
            at = job.record(site, "cancel", batch="slurm", job=job.job, account=job.account, lease=lease, reason=reason)
        else:
            at = job.record(site, "hold", batch="slurm", job=job.job, account=job.account, reason=reason)
    except (GridwardenError, OSError) as error:
        job.log("prolog", "unrecorded", detail=str(error))
    programs, spool = site["slurm_programs"][0], site["slurm_spool"][0]
    since = int(time.time()) if job.batch_start is None else job.batch_start
    ask = controller.cancel if choice == "cancel" else controller.requeue_held
    taken = ask(programs, job.job)
    if not taken and choice == "requeue-held":  # never possible with --no-requeue, or for a job of srun or salloc
        return _stop(job, site, "cancel", lease, reason)
    done = taken and controller.is_over_here(spool, job.node, job.job, since)
    outcome = {"cancel": "cancelled", "requeue-held": "held"}[choice] if done else "drained"
    job.log("prolog", outcome, at, lease=lease, reason=reason)
    return PASS if done else FAIL


def _is_off(context: str, environment: Mapping[str, str]) -> bool:
    """Whether an administrator has switched hooks off here; says so of the job, once."""
    from gridwarden import off  # noqa: PLC0415 - rare

    switched = off.switch(off.HOOKS)
    if switched:
        about = {"job": environment.get("SLURM_JOB_ID"), "account": environment.get("SLURM_JOB_USER")}
        syslog_line.decision(context, "off", batch="slurm", **about, detail=str(switched))
    return switched is not None


def _see_to_payloads(environment: Mapping[str, str], site: Site, seconds: float) -> None:
    """End and recover payloads, in so much time."""
    late = ""
    try:
        deadline.arm(seconds)
        _recover_payloads(site)
        _end_payloads(environment, site)
    except deadline.Overdue as error:
        late = str(error)
    finally:
        deadline.disarm()
    if late:
        _complain("epilog", "left", f"payloads: seeing to them {late}")


def _recover_payloads(site: Site) -> None:
    """See to payloads whose launchers were killed, as when Slurm killed a pilot's whole job; whoever the pilot is."""
    from gridwarden import payloads  # noqa: PLC0415 - a prolog has no use for it

    try:
        unled = payloads.without_launcher(site.get("payloads", [""])[0])
    except (GridwardenError, OSError) as error:
        return _complain("epilog", "left", str(error))
    if unled:
        from gridwarden.hooks.pilot import begin_end  # noqa: PLC0415 - rare
        from gridwarden.prune.payload_recovery import recover_all  # noqa: PLC0415

        for payload, why in recover_all(site, begin_end.finish):
            _complain("epilog", "left", f"{payload}: {why}")
    return None


def _end_payloads(environment: Mapping[str, str], site: Site) -> None:
    """End the payloads of a job that is over: their pilot may have left its processes, and they live while it does."""
    from gridwarden import payloads  # noqa: PLC0415 - a prolog has no use for it

    if not payloads.names(site.get("payloads", [""])[0]):
        return
    from gridwarden.batch import slurm  # noqa: PLC0415 - rare
    from gridwarden.prune.payload_recovery import ask_to_end  # noqa: PLC0415 - rare

    try:
        job = str(variables.number(environment, "SLURM_JOB_ID"))
        steps = slurm.steps_here(site["slurm_spool"][0])
        if steps is not None and not any(step.job == job for step in steps):  # of another slurmd of this machine
            ask_to_end(site, "slurm", job)
    except (GridwardenError, OSError) as error:
        _complain("epilog", "left", str(error))


def _complain(context: str, outcome: str, detail: str) -> None:
    """Say on stderr, which slurmd logs, and in syslog why nothing was done."""
    syslog_line.decision(context, outcome, detail=detail)
    os.write(2, f"gridwarden: {context}: {escape(detail)}\n".encode("ascii", "backslashreplace"))
