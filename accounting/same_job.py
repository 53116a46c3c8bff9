"""Whether a run that hooks recorded and a job of the batch system's accounting are the same.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.accounting.batch_records import HTCONDOR, SLURM
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.job_runs import Run

# Clocks of a controller and its nodes may differ by this much before records of one job are told apart.
CLOCK_SKEW = 300 * MICROSECONDS
OWNERS_WORD = "; only its ad says when and where it ran, which its owner can change"
CONTRADICTED = "hooks recorded it at another time than its ad says, which its owner can change"


def is_of(run: Run, job: Job) -> bool:
    """Say whether the run is of this very job: job numbers are used again when they have run out."""
    return (
        (run.batch, run.cluster, run.job) == (job.batch, job.cluster, job.job)
        and (run.restart == job.restart or job.batch == HTCONDOR or _is_uncounted(run, job))
        and run.account == job.account
        and job.submit - CLOCK_SKEW <= run.start
        and (job.end is None or run.start <= job.end + CLOCK_SKEW)
    )


def _is_uncounted(run: Run, job: Job) -> bool:
    """Say whether the run began while the job ran, whose accounting may not count restarts.

    Slurm's hooks of 22.05 do, and its sacct does not; there each run has a submission, and so a row, of its own.
    """
    began = job.submit if job.start is None else job.start
    within = began <= run.start and (job.end is None or run.start <= job.end)
    return job.batch == SLURM and job.restart == 0 < run.restart and within


def is_its_owners_word(job: Job) -> bool:
    """Say whether a job's times and figures are no better than a claim where no hook recorded it.

    HTCondor's owner can change them (condor_qedit) until the ad is in the history.
    """
    return job.batch == HTCONDOR


def is_contradicted(runs: Iterable[Run], job: Job) -> bool:
    """Say whether an HTCondor job's ad gives it other times than all that hooks recorded under its number and account.

    Its owner can change the ad (condor_qedit): then nobody is named by who held the account at these times.
    """
    its = [run for run in runs if (run.batch, run.cluster, run.job, run.account) == (*job[:3], job.account)]
    return is_its_owners_word(job) and bool(its) and not any(is_of(run, job) for run in its)
