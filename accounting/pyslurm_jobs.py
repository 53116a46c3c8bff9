"""Slurm's accounting through pyslurm, where sacct is not installed: the lines that sacct would print.

Attributes as in pyslurm/db/{job,step,stats}.pyx of 25.11.2; that of 24.11.0 does not say which run of a job one is, and is refused:
its rows would stand beside those of sacct for the same runs.  It knows less than sacct does: CPU times are whole
seconds; of the runs of a requeued job there is the last alone, since jobs stand in a mapping by their number; and a user
is whoever has the uid on this machine.
"""

from __future__ import annotations

import importlib
import subprocess
from typing import TYPE_CHECKING, Any

from gridwarden.accounting import sacct
from gridwarden.accounting.sacct_rows import FIELDS, SEPARATOR
from gridwarden.errors import Unavailable
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HINT = "install sacct and set slurm.programs, or gridwarden[pyslurm] in the version of this Slurm"
_VERSION_SECONDS = 30


def run(programs: Path, since: int) -> Iterator[str]:
    """Yield the lines of ``sacct.run``; raises Unavailable where pyslurm is not installed, fails, or is of another Slurm.

    Whatever existed since then is in memory at once.
    """
    pyslurm = _load()
    _refuse_other_version(pyslurm, programs)
    begin = max(since, sacct.EARLIEST) // MICROSECONDS
    try:
        jobs = pyslurm.db.Jobs.load(pyslurm.db.JobFilter(start_time=begin))
    except (pyslurm.PyslurmError, OSError, ValueError) as error:
        message = f"pyslurm: {' '.join(str(error).split()) or type(error).__name__}"
        raise Unavailable(message, "gridwarden collect can be repeated when slurmdbd answers again") from error
    for job in jobs.values():
        yield _line(_of_job(job))
        for step in job.steps.values():
            yield _line(_of_step(job, step))


def is_chosen(programs: Path) -> bool:
    """Say whether pyslurm is to be asked: it is installed, and sacct, which knows more, is not."""
    if (programs / "sacct").exists():
        return False
    try:
        _load()
    except Unavailable:
        return False
    return True


def _load() -> Any:  # noqa: ANN401  a module without types, which may not be there
    try:
        return importlib.import_module("pyslurm")
    except (ImportError, RuntimeError, OSError) as error:  # of another Slurm, its library has other names
        raise Unavailable(f"pyslurm cannot be loaded: {' '.join(str(error).split())}", HINT) from error


def _refuse_other_version(pyslurm: Any, programs: Path) -> None:  # noqa: ANN401  as above
    """Refuse a pyslurm for another Slurm than scontrol is of: its structures are laid out otherwise."""
    try:
        done = subprocess.run(
            [str(programs / "scontrol"), "--version"], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_VERSION_SECONDS, check=False, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{programs}/scontrol: cannot be asked for its version: {error}", HINT) from error
    theirs, ours = done.stdout.split()[-1:], str(pyslurm.__version__)
    if not hasattr(pyslurm.db.Job, "requeue_count"):
        raise Unavailable(f"pyslurm {ours} does not say how often a job was requeued; that of 25.11.2 does", HINT)
    if not theirs or theirs[0].split(".")[:2] != ours.split(".")[:2]:
        said = theirs[0] if theirs else "of no known version"
        raise Unavailable(f"pyslurm is {ours}, and Slurm is {said}", HINT)


def _of_job(job: Any) -> dict[str, object]:  # noqa: ANN401  as above
    group = job.group_name() if callable(job.group_name) else job.group_name
    return {
        "JobIDRaw": job.id,
        "User": job.user_name,
        "UID": job.user_id,
        "Submit": job.submit_time,
        "Restarts": job.requeue_count,
        "Partition": job.partition,
        "AllocCPUS": job.cpus,
        "ElapsedRaw": job.elapsed_time or 0,
        "Group": group,
        "Account": job.account,
        "AdminComment": job.admin_comment,
        **_of_either(job, job.cluster),
    }


def _of_step(job: Any, step: Any) -> dict[str, object]:  # noqa: ANN401  as above
    return {"JobIDRaw": f"{job.id}.{step.id}", "Submit": step.start_time, **_of_either(step, job.cluster)}


def _of_either(what: Any, cluster: str) -> dict[str, object]:  # noqa: ANN401  as above
    return {
        "Cluster": cluster,
        "Start": what.start_time,
        "End": what.end_time,
        "State": what.state,
        "ExitCode": f"{what.exit_code or 0}:{what.exit_code_signal or 0}",
        "UserCPU": _clock(what.stats.user_cpu_time),
        "SystemCPU": _clock(what.stats.system_cpu_time),
        "TotalCPU": _clock(what.stats.total_cpu_time),
        "NodeList": what.nodelist,
    }


def _clock(seconds: int) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02}:{minute:02}:{second:02}"


def _line(values: dict[str, object]) -> str:
    """Return a line of sacct's; but for the last, which may hold anything, no value moves the others."""
    texts = ["" if (value := values.get(field)) is None else str(value) for field in FIELDS]
    return SEPARATOR.join([*(text.replace(SEPARATOR, "?") for text in texts[:-1]), texts[-1]])
