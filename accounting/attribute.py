"""Split the CPU time of batch jobs among the identities that used it.  Pure; integer microseconds.

Whatever the inputs, ``sum of the parts + unattributed + batch_discrepancy == total``, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import evidence
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from gridwarden.accounting.batch_records import Job, Step
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.lease_history import Sighting

# Clocks of a controller and its nodes may differ by this much before records of one job are told apart.
CLOCK_SKEW = 300 * MICROSECONDS


class Part(NamedTuple):
    """CPU time of one identity in one job."""

    scheme: str
    subject: str
    vo: str
    account: str
    cpu: int
    evidence: str


class Attribution(NamedTuple):
    """The division of one job; ``because`` says why something is unattributed, or is empty.

    ``total`` is what the batch system says of the job as a whole; ``batch_discrepancy`` is that total minus
    what it says of the job's steps, and so has either sign.
    """

    parts: tuple[Part, ...]
    unattributed: int
    batch_discrepancy: int
    total: int
    because: str


def attribute(job: Job, steps: Sequence[Step], runs: Sequence[Run], leases: Mapping[str, Sighting]) -> Attribution:
    """Divide a job.

    ``runs`` are those of any job with this one's number, ``leases`` the lendings by lease id.  A holder that
    a hook verified when the job started decides; without one, the job's stamp, which is only a claim.
    """
    measured = sum(step.total_cpu for step in steps) if steps else job.total_cpu
    owner, because = _owner(job, runs, leases)
    parts = (owner._replace(cpu=measured),) if owner else ()
    return Attribution(
        parts=parts,
        unattributed=0 if owner else measured,
        batch_discrepancy=job.total_cpu - measured,
        total=job.total_cpu,
        because=because,
    )


def _owner(job: Job, runs: Sequence[Run], leases: Mapping[str, Sighting]) -> tuple[Part | None, str]:
    verified = [run for run in runs if run.subject and is_of(run, job)]
    if len({(run.scheme, run.subject, run.lease) for run in verified}) > 1:
        return None, "its nodes recorded different holders"
    if verified:
        run = verified[0]
        return Part(run.scheme, run.subject, run.vo, job.account, 0, evidence.BATCH), ""
    if not job.stamp:
        return None, "no hook recorded its start and it has no stamp"
    lending = leases.get(job.stamp)
    if lending is None:
        return None, "its stamp names no lease that is known here"
    if lending.account != job.account:
        return None, "its stamp names the lease of another account"
    return Part(lending.scheme, lending.subject, lending.vo, job.account, 0, evidence.DECLARED), ""


def is_of(run: Run, job: Job) -> bool:
    """Say whether the run is of this very job: job numbers are used again when they have run out."""
    return (
        (run.batch, run.cluster, run.job, run.restart) == (job.batch, job.cluster, job.job, job.restart)
        and run.account == job.account
        and job.submit - CLOCK_SKEW <= run.start
        and (job.end is None or run.start <= job.end + CLOCK_SKEW)
    )
