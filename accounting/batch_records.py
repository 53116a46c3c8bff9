"""Jobs and their steps as a batch system's own accounting has them, whichever batch system it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gridwarden.accounting import hostlist

ClassOf = Callable[[str], str]

SLURM, PBS, HTCONDOR = "slurm", "pbs", "htcondor"


class Job(NamedTuple):
    """A job, once for each time that it was started (``restart``); an HTCondor job once, its runs are steps.

    Times are microseconds since the epoch, None where the batch system knows none; CPU times are microseconds, of
    which Slurm keeps milliseconds, and whole seconds from one hour on, and the others whole seconds.
    From ``name`` on it is what later exports need, empty or None where the batch system does not say it: ``group_name``
    is the Unix group, ``project`` who is charged (Slurm's Account, PBS's account, HTCondor's AccountingGroup);
    ``scheme`` to ``vo`` are the credential that the record itself declares; ``wall`` is in microseconds, ``memory``
    the peak in bytes; ``fields`` is a PBS record's own words, and empty for the others; ``slot`` is HTCondor's, of the last
    run; ``node_class`` is what the site calls such nodes.
    """

    batch: str
    cluster: str
    job: str
    submit: int
    restart: int
    account: str
    uid: int | None
    start: int | None
    end: int | None
    state: str
    exit_code: str
    user_cpu: int
    system_cpu: int
    total_cpu: int
    nodes: str
    stamp: str
    name: str = ""
    queue: str = ""
    group_name: str = ""
    project: str = ""
    submit_host: str = ""
    scheme: str = ""
    subject: str = ""
    fqan: str = ""
    vo: str = ""
    cores: int | None = None
    wall: int | None = None
    memory: int | None = None
    fields: str = ""
    slot: str = ""
    node_class: str = ""

    @property
    def wall_time(self) -> int:
        """Microseconds of wall time, 0 for a job that never ran or has not ended."""
        if self.wall is not None:
            return max(self.wall, 0)
        return 0 if self.start is None or self.end is None else max(self.end - self.start, 0)

    @property
    def wall_cores(self) -> int:
        """Wall time times cores, of which there is at least one."""
        return self.wall_time * max(self.cores or 1, 1)


class Step(NamedTuple):
    """A step of the job with the same first five fields; ``account`` is said of HTCondor's alone, whose owners name the job."""

    batch: str
    cluster: str
    job: str
    submit: int
    restart: int
    step: str
    start: int | None
    end: int | None
    state: str
    user_cpu: int
    system_cpu: int
    total_cpu: int
    nodes: str
    slot: str = ""
    account: str = ""


class OddRow(NamedTuple):
    """A line or entry that cannot be understood, and why."""

    line: str
    reason: str


class Ignored(NamedTuple):
    """A line or entry that is known to say nothing about CPU time, and what it is."""

    because: str


def no_class(_node: str) -> str:
    """Say that a node has no class."""
    return ""


def classed(job: Job, class_of: ClassOf) -> Job:
    """Return a job with the class of the first of its nodes."""
    node = next(iter(hostlist.expand(job.nodes)), "") if class_of is not no_class else ""
    return job._replace(node_class=class_of(node)) if node else job
