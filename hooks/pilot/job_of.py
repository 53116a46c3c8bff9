"""Which batch job a pilot is in, by what root's own processes and the kernel say; never by its environment."""

from __future__ import annotations

import os

from gridwarden import proc, reasons, register
from gridwarden.batch import question
from gridwarden.errors import ConfigurationError, GridwardenError, Refused

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.job import Site
    from gridwarden.mapper.pilot_values import Caller

# What starts a job's processes, by the name of its file.
STARTERS = {"slurmstepd": ("slurm",), "condor_starter": ("htcondor",), "pbs_mom": ("pbs", "torque")}
DEBIANS = "-wlm"  # /usr/sbin/slurmstepd is a link to slurmstepd-wlm there
MOST_ANCESTORS = 64
ASK_SECONDS = 2.0
TITLE = "slurmstepd: ["
GROUP = "job_"


class CallerJob:
    """A batch job: ``job`` is "" where it is not known, ``batch``, too, where there is none."""

    __slots__ = ("batch", "job", "restart")

    def __init__(self, batch: str = "", job: str = "", restart: int = 0) -> None:
        self.batch = batch
        self.job = job
        self.restart = restart


def permitted(site: Site, pilot: str, caller: Caller, outside_jobs: str) -> CallerJob:
    """The job that this process is in; raises Refused (outside-jobs) for no service where there is none and must be one.

    Asked once in a launch: a pilot that leaves its job after that has it on record, and the job's end is its payload's.
    """
    job = caller_job(site, pilot)
    if outside_jobs == "refuse" and not job.batch and not caller.service:
        raise Refused(
            reasons.OUTSIDE_JOBS,
            f"{pilot} calls from outside every batch job, or has detached itself from its own",
            "pilot.outside_jobs in site.yaml; a monitoring account is an entry with service: true",
        )
    return job


def caller_job(site: Site, pilot: str, pid: int = 0) -> CallerJob:
    """The job that process ``pid``, by default this one, is in; ``pilot`` is the account that called."""
    pid = pid or os.getpid()
    starter = _starter_above(pid)
    known = _registered(site, pilot)
    if starter is None:
        job = _job_of_group(pid)
        return _with_restart("slurm", job, known) if job else CallerJob()
    name, above, below = starter
    if name == "slurmstepd":
        return _with_restart("slurm", step_job(title(above)), known)
    of_pilot = [entry for entry in known if entry.batch in STARTERS[name]]
    if len(of_pilot) == 1:
        return CallerJob(of_pilot[0].batch, of_pilot[0].job, of_pilot[0].restart)
    systems = [batch for batch in STARTERS[name] if batch in site.get("prune_batch", [])]
    for batch in systems:  # of none or several the register does not say which it is
        if job := _told(batch, above, below, site):
            return _with_restart(batch, job, known)
    return CallerJob((*systems, *STARTERS[name])[0])


def step_job(title: str) -> str:
    """The job in the title that a slurmstepd gives itself, ``slurmstepd: [JOB.STEP]`` (seen with 24.11.5); "" if none."""
    if not title.startswith(TITLE):
        return ""
    job, dot, _ = title.removeprefix(TITLE).partition("]")[0].partition(".")
    return job if dot and job.isascii() and job.isdigit() else ""


def _told(batch: str, starter: int, below: int, site: Site) -> str:
    """The job of a starter's child by what the batch system of this node says, which its users cannot; "" if it does not."""
    try:
        started_by, started = proc.read(starter), proc.read(below)
        if batch == "htcondor":
            from gridwarden.batch import htcondor  # noqa: PLC0415 - not for a launch in Slurm to pay

            return htcondor.job_of(started_by, site, ASK_SECONDS).job if started_by else ""
        from gridwarden.prune.machine import asker  # noqa: PLC0415 - as above

        jobs = asker(batch)(site, ASK_SECONDS).jobs
    except (GridwardenError, OSError, KeyError):
        return ""
    return next((job.job for job in jobs if started and started.session in job.sessions), "")


def _starter_above(pid: int) -> tuple[str, int, int] | None:
    """The nearest ancestor that root runs from a file of one of these names: name and pid, and its child above ``pid``."""
    below = pid
    for _ in range(MOST_ANCESTORS):
        process = proc.read(pid)
        if process is None or process.pid <= 1:
            return None
        name = os.path.basename(question.executable(pid).removesuffix(" (deleted)")).removesuffix(DEBIANS)
        if name in STARTERS and process.real_uid == 0:
            return name, pid, below
        below, pid = pid, process.parent
    return None


def _job_of_group(pid: int) -> str:
    """The job whose control group, one that Slurm made, the process is in: its starter may have ended."""

    def is_jobs(name: str) -> bool:
        return name.startswith(GROUP) and name.removeprefix(GROUP).isdigit()

    groups = filter(made_by_slurm, question.control_groups(pid, is_jobs))
    return next((group.rpartition("/")[2].removeprefix(GROUP) for group in groups), "")


def made_by_slurm(group: str) -> bool:
    """Whether a control group of this path is where Slurm makes those of jobs, and users can make none.

    ``/system.slice/[NODE_]slurmstepd.scope/job_J`` with cgroup/v2, ``/slurm[_NODE]/uid_U/job_J`` with cgroup/v1 (24.11.5);
    below ``/user.slice`` a user who has a group of their own may call another like a job of somebody else's.
    """
    first, _, above = group.removeprefix("/").rpartition("/")[0].partition("/")
    scope = first == "system.slice" and above.endswith("slurmstepd.scope")
    return "/" not in above and (scope or (first.startswith("slurm") and above.startswith("uid_")))


def title(pid: int) -> str:
    """The first word of a process's command line, which a slurmstepd sets; "" when it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096).partition(b"\0")[0].decode("ascii", "replace")
    except OSError:
        return ""


def _with_restart(batch: str, job: str, known: list[register.Entry]) -> CallerJob:
    restart = next((entry.restart for entry in known if (entry.batch, entry.job) == (batch, job)), 0)
    return CallerJob(batch, job, restart)


def _registered(site: Site, pilot: str) -> list[register.Entry]:
    try:
        return register.jobs_of(site["register"][0], pilot)
    except (ConfigurationError, OSError):
        return []
