"""A stand-in for pyslurm 25.11.2: jobs as `sacct` of the test site listed them, with the attributes that pyslurm has.

Names and what they hold: pyslurm/db/job.pyx (Jobs.load, JobFilter, Job), step.pyx and stats.pyx; CPU times are whole
seconds there, a signal is beside the exit code, and jobs stand in a mapping by their number, so that of two runs of one job the
last is left.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace

import pytest

from gridwarden.accounting.batch_records import Job, Step
from gridwarden.accounting.sacct_rows import parse
from gridwarden.times import MICROSECONDS


class PyslurmError(Exception):
    """As pyslurm.core.error has it."""


class JobFilter:
    def __init__(self, **names: object) -> None:
        assert names.keys() <= {"start_time", "end_time", "clusters"}
        self.__dict__.update(names)


def install(
    monkeypatch: pytest.MonkeyPatch, lines: Iterable[str], version: str = "25.11.2", *, counts: bool = True
) -> list[JobFilter]:
    """Have `import pyslurm` give it; returns what it will have been asked for."""
    asked: list[JobFilter] = []
    jobs: dict[int, SimpleNamespace] = {}
    for row in parse(lines):
        if isinstance(row, Job):
            jobs[int(row.job)] = _job(row)
        elif isinstance(row, Step):
            jobs[int(row.job)].steps[row.step] = _of_either(row, "0:0", id=row.step)

    def load(db_filter: JobFilter | None = None) -> dict[int, SimpleNamespace]:
        assert db_filter is not None
        asked.append(db_filter)
        return jobs

    module = ModuleType("pyslurm")
    of_job = SimpleNamespace(requeue_count=None) if counts else SimpleNamespace()
    names = {"db": SimpleNamespace(Jobs=SimpleNamespace(load=load), JobFilter=JobFilter, Job=of_job)}
    module.__dict__.update(names, PyslurmError=PyslurmError, __version__=version)
    monkeypatch.setitem(sys.modules, "pyslurm", module)
    return asked


def _job(job: Job) -> SimpleNamespace:
    return _of_either(
        job, job.exit_code, id=int(job.job), cluster=job.cluster, user_name=job.account, user_id=job.uid,
        submit_time=_seconds(job.submit), requeue_count=job.restart, partition=job.queue, cpus=job.cores,
        elapsed_time=_seconds(job.wall), group_name=lambda: job.group_name, account=job.project or None,
        admin_comment=job.stamp or None, steps={},
    )  # fmt: skip


def _of_either(row: Job | Step, exit_code: str, **more: object) -> SimpleNamespace:
    code, _, signal = exit_code.partition(":")
    stats = {f"{part}_cpu_time": getattr(row, f"{part}_cpu") // MICROSECONDS for part in ("user", "system", "total")}
    return SimpleNamespace(
        start_time=_seconds(row.start), end_time=_seconds(row.end), state=row.state.partition(" by ")[0],
        exit_code=int(code), exit_code_signal=int(signal), nodelist=row.nodes or None, stats=SimpleNamespace(**stats), **more,
    )  # fmt: skip


def _seconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // MICROSECONDS
