"""Jobs of pool accounts that run here though no prolog has judged them: put on record, and stopped where a prolog would have.

Slurm before 23.02 starts jobs that were put back without their Prolog now and then (docs/slurm-behaviour.md); so does every
Slurm while its slurm.conf names none.  The agent's child looks for them: what a prolog has entered is in the register before
its slurmstepd is there, and stays until that has ended, so a job that runs and is not there was judged by nobody.  It is not
entered later: no epilog of ours may ever take it out.  So it is judged at each look, until it ends.
"""

from __future__ import annotations

import pwd
import time

from gridwarden import holders, off, proc, register, syslog_line, tab_file
from gridwarden.batch import slurm, slurm_listing
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
UNKNOWN = "its slurmstepd takes no connection: whose it is cannot be told"
SECONDS = 30.0  # for all; who has not been seen to goes before others in the next look
EXTERN = "extern"
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
    unknown = {f"{node} {job}": (node, job) for node, job in here - entered}
    now = {name: OTHERS for name in unknown if name in others}
    until = time.monotonic() + SECONDS
    for name in sorted(unknown.keys() - others, key=lambda name: (name in told, name)):
        before = told.get(name, "")
        said = _see_to_job(unknown[name], site, before) if time.monotonic() < until else before
        if said:
            now[name] = said
    return now


def _see_to_job(which: tuple[str, str], site: Site, before: str) -> str:
    """What is to be said of a job, (node, number), by now; "" where nothing of it runs, or none of its user's yet."""
    steps = slurm.steps_here(site["slurm_spool"][0], {which})
    if steps is None:  # each by itself: whoever keeps one slurmstepd busy hides no other job
        if before != UNKNOWN:
            syslog_line.decision("agent", "failed", part="unjudged", node=which[0], job=which[1], detail=UNKNOWN)
        return UNKNOWN
    # An extern step may be there while the prolog runs (PrologFlags=RunInJob), the others only once it is over.
    steps = [step for step in steps if slurm_listing.step_name(step.step) != EXTERN]
    daemons = {step.pid: daemon.start for step in steps if (daemon := proc.read(step.pid)) and daemon.real_uid == 0}
    account, uid = _whose([step for step in steps if step.pid in daemons])
    if not (uid and batch_job.is_pool_account(account, site)):
        return OTHERS if uid else ""
    node, number = which
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
    """Account and uid whose a job is, by its script, else by what its steps have started; 0 where that cannot be told.

    A process of the user's may take other uids, those of subuid(5); and a payload that lost its parents is a slurmstepd's.
    """
    daemons = {step.pid for step in steps}
    uids = {step.owner for step in steps if step.owner} or {
        one.real_uid for one in proc.everyone() if one.parent in daemons and one.real_uid and not one.has_ended()
    }
    uid = uids.pop() if len(uids) == 1 else 0
    try:
        return pwd.getpwuid(uid).pw_name, uid
    except KeyError:
        return "", 0


def _judge(job: Job, site: Site) -> Verdict:
    """What the prolog would have found."""
    holder = None
    try:
        holder = job_holder.read_holder(job, site)
        linked = holder.verdict != holders.BANNED and job_holder.confirm_link(holder, site)
    except (GridwardenError, OSError) as error:
        others = job_holder.linked_otherwise(holder, site) if holder is not None else []
        holder = job_holder.read_banned(job, site)
        if holder is None:
            return Verdict(site["prolog_on_failure"][0], str(error), "", tuple(others))
    if holder.verdict == holders.BANNED:
        return Verdict(CANCEL, f"banned: {holder.because}", holder.lease)
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
