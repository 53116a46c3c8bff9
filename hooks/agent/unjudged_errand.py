"""Jobs of pool accounts that run here though no prolog has judged them: put on record, and stopped where a prolog would have.

Slurm before 23.02 starts jobs that were put back without their Prolog now and then (docs/slurm-behaviour.md); so does every
Slurm while its slurm.conf names none.  The agent's child looks for them: what a prolog has entered is in the register before
its slurmstepd is there, and stays until that has ended, so a job that runs and is not there was judged by nobody.  It is not
entered later: no epilog of ours may ever take it out.  So it is judged at each look, until it ends.
"""

from __future__ import annotations

import pwd

from gridwarden import holders, off, proc, register, tab_file
from gridwarden.batch import slurm
from gridwarden.errors import GridwardenError, Unavailable
from gridwarden.hooks import job as batch_job
from gridwarden.hooks import job_holder
from gridwarden.hooks.agent.unjudged import OTHERS
from gridwarden.hooks.slurm import controller
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from gridwarden.batch.slurm import Step
    from gridwarden.hooks.job import Job, Site
    from gridwarden.records import Value

    Told = dict[str, str]
    Entry = tuple[str, dict[str, Value]]

UNRECORDED = "unrecorded: "
RECORD_GAP, CANCEL = "record-gap", "cancel"
LOCK_SECONDS = 5.0  # for an account that a prolog or an epilog is busy with; the next look comes to it again
NOT_JUDGED = "no prolog has judged it before it began to run"


class Verdict(NamedTuple):
    """What becomes of a job (one of ``slurm.prolog_on_failure``), why, under which lease, and what was seen of that."""

    choice: str
    why: str
    lease: str = ""
    seen: tuple[Entry, ...] = ()


def look(site: Site, told: Told) -> bytes:
    """A tab file: ``job`` lines of what ``see_to`` says, ``absent`` where no slurmd runs, or the ``fault``."""
    try:
        found = see_to(site, told)
    except (GridwardenError, OSError) as error:
        return tab_file.encode([("fault", str(error))])
    if found is None:
        return tab_file.encode([("absent", "yes")])
    return tab_file.encode([("job", f"{name} {said}") for name, said in found.items()])


def see_to(site: Site, told: Told) -> Told | None:
    """Judge each such job; "NODE JOB" -> what was said of it.  None where no slurmd keeps its steps here.

    ``told`` is what the last look returned: each thing is said, and recorded, once.  Raises ConfigurationError, OSError.
    """
    here = slurm.jobs_of_steps(site["slurm_spool"][0])
    if here is None:
        return None
    if off.switch(off.HOOKS):
        return {}
    entered = {(one.node, one.job) for one in register.everything(site["register"][0]) if one.batch == "slurm"}
    others = {name for name, said in told.items() if said == OTHERS}
    unknown = {(node, job) for node, job in here - entered if f"{node} {job}" not in others}
    steps = (slurm.steps_here(site["slurm_spool"][0], unknown) or []) if unknown else []
    now = {f"{node} {job}": OTHERS for node, job in here if f"{node} {job}" in others}
    for node, job in sorted({(step.node, step.job) for step in steps}):
        name = f"{node} {job}"
        said = _see_to_job([step for step in steps if (step.node, step.job) == (node, job)], site, told.get(name, ""))
        if said:
            now[name] = said
    return now


def _see_to_job(steps: list[Step], site: Site, before: str) -> str:
    """What is to be said of a job by now; "" while it has no process of its user's, or none any more."""
    daemons = {step.pid: daemon.start for step in steps if (daemon := proc.read(step.pid)) and daemon.real_uid == 0}
    account, uid = _whose([step for step in steps if step.pid in daemons])
    if not uid:
        return ""
    if not batch_job.is_pool_account(account, site):
        return OTHERS
    node, number = steps[0].node, steps[0].job
    job = batch_job.Job(
        batch="slurm", cluster=site["cluster"][0], node=node, job=number, restart=0, account=account, uid=uid
    )
    try:
        with register.AccountLock(site["locks"][0], account, LOCK_SECONDS):
            if job.register_name() in register.names_of(site["register"][0], account):
                return ""
            if not any((one := proc.read(pid)) and one.start == start for pid, start in daemons.items()):
                return ""  # its epilog may have been there before
            verdict = _judge(job, site)
    except Unavailable:
        return before
    return _act(job, site, verdict, before)


def _whose(steps: list[Step]) -> tuple[str, int]:
    """Account and uid whose processes a job's steps have started; 0 while there are none, or where that cannot be told.

    An extern step's own process is root's.  A payload that lost its parents may be a slurmstepd's child, too.
    """
    daemons = {step.pid for step in steps}
    uids = {one.real_uid for one in proc.everyone() if one.parent in daemons and one.real_uid and not one.has_ended()}
    if scripts := {step.owner for step in steps if step.owner}:
        uids &= scripts
    uid = uids.pop() if len(uids) == 1 else 0
    try:
        return pwd.getpwuid(uid).pw_name, uid
    except KeyError:
        return "", uid


def _judge(job: Job, site: Site) -> Verdict:
    """What the prolog would have found."""
    try:
        holder = job_holder.read_holder(job, site)
        if holder.verdict == holders.BANNED:
            return Verdict(CANCEL, f"banned: {holder.because}", holder.lease)
        linked = job_holder.confirm_link(holder, site)
    except (GridwardenError, OSError) as error:
        return Verdict(site["prolog_on_failure"][0], str(error))
    return Verdict(RECORD_GAP, "", holder.lease, (job_holder.seen(holder, linked=linked),))


def _act(job: Job, site: Site, verdict: Verdict, before: str) -> str:
    """Put it on record, once, and stop the job where that is the verdict, however often it takes; what there is to say."""
    wanted = f"{verdict.choice} {verdict.why}: "
    fault, at = "", None
    if not before.startswith(wanted):
        try:
            at = job.record_all(site, _entries(job, verdict))
        except (GridwardenError, OSError) as error:
            wanted, fault = f"{UNRECORDED}{wanted}", str(error)
    outcome = "missed" if verdict.choice == RECORD_GAP else _stop(job, site, verdict.choice)
    said = f"{wanted}{outcome}"
    if said != before:
        about = {"lease": verdict.lease, "reason": verdict.why or NOT_JUDGED}
        job.log("prolog", outcome, at, **about, detail=f"{UNRECORDED}{fault}" if fault else "")
    return said


def _entries(job: Job, verdict: Verdict) -> list[Entry]:
    about: dict[str, Value] = {"batch": job.batch, "job": job.job, "account": job.account}
    entries = [job.gap_entry("start", f"{NOT_JUDGED}; {verdict.why}" if verdict.why else NOT_JUDGED), *verdict.seen]
    if verdict.choice == CANCEL:
        entries.append(("cancel", about | {"lease": verdict.lease, "reason": verdict.why}))
    elif verdict.choice != RECORD_GAP:
        entries.append(("hold", about | {"reason": verdict.why}))
    return entries


def _stop(job: Job, site: Site, choice: str) -> str:
    """Cancel the job, or put it back, held, where the site would have a prolog do that, or drain the node."""
    programs = site["slurm_programs"][0]
    if choice != CANCEL and controller.requeue_held(programs, job.job):
        return "held"
    return "cancelled" if controller.cancel(programs, job.job) else "failed"
