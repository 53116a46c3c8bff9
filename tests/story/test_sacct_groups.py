"""Arrays, heterogeneous jobs and steps as the real sacct prints them: each is a job of its own, with all of its CPU time."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden.accounting import sacct, sacct_rows
from gridwarden.accounting.batch_records import Job, Step

if TYPE_CHECKING:
    from types import ModuleType

BURN = "i=0; while ((i++ < 200000)); do :; done; srun --ntasks=1 --overlap true; exit 0"


def test_each_task_of_an_array_and_each_part_of_a_het_job_is_a_job_with_its_steps(slurm: ModuleType) -> None:
    array = slurm.submit("alice", BURN, "--array=3-4")
    het = slurm.submit("alice", f"#SBATCH --ntasks=1\n#SBATCH hetjob\n#SBATCH --ntasks=1\n{BURN}")
    ended = {"COMPLETED", "FAILED", "TIMEOUT"}

    def known() -> list[str] | None:
        words = [
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            "--format=JobIDRaw,State",
            f"--jobs={array},{het}",
        ]
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        states = dict(line.split("|") for line in lines)
        return sorted(states) if len(states) == 4 and ended.issuperset(states.values()) else None

    numbers: Any = slurm.until("sacct to know the end of all four", known)
    rows = list(sacct_rows.parse(sacct.run(Path("/usr/bin"), 0)))
    jobs = {row.job: row for row in rows if isinstance(row, Job) and row.job in numbers}
    assert sorted(jobs) == numbers
    assert {job.restart for job in jobs.values()} == {0}
    for number, job in jobs.items():
        steps = [row for row in rows if isinstance(row, Step) and row.job == number and row.submit == job.submit]
        assert abs(sum(step.total_cpu for step in steps) - job.total_cpu) <= 1000 * len(steps), steps
    burnt = [number for number in numbers if number != str(het + 1)]  # a het job has one script, in its first part
    assert [number for number in burnt if jobs[number].total_cpu < 50_000] == []
