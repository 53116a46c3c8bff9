"""Slurm's own accounting, out of the lines that sacct prints.  Pure; ``sacct`` runs it.

sacct -P escapes nothing, so the fields are separated by a control character (0x1f) that no user can put
into a user's name or a state; the last two columns are others' words, and what they forge is in the last.  Format of the fields: sacct(1) of Slurm 24.11, as seen there; Slurm adds a
job's CPU time up from its steps, so with --allocations (-X) it would print 0 for every job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gridwarden.accounting.batch_records import SLURM, Job, OddRow, Step
from gridwarden.times import MICROSECONDS

SEPARATOR = "\x1f"
FIELDS = (
    "JobIDRaw",
    "Cluster",
    "User",
    "UID",
    "Submit",
    "Start",
    "End",
    "State",
    "ExitCode",
    "Restarts",
    "UserCPU",
    "SystemCPU",
    "TotalCPU",
    "NodeList",
    "Partition",
    "AllocCPUS",
    "ElapsedRaw",
    "Group",
    "Account",
    "AdminComment",
)

_ID = re.compile(r"(?P<job>\d+)(?:\+\d+)?(?:\.(?P<step>[A-Za-z0-9_+-]+))?", re.ASCII)
_CPU = re.compile(r"(?:(?:(\d{1,6})-)?(\d{1,2}):)?(\d{1,2}):(\d{2})(?:\.(\d{1,6}))?", re.ASCII)
_STATE = re.compile(r"[A-Z][A-Z_]+(?: by \S+)?", re.ASCII)
_NO_TIME = {"", "Unknown", "None"}


def parse(lines: Iterable[str]) -> Iterator[Job | Step | OddRow]:
    """Turn sacct's lines into jobs and steps; each line gives exactly one value, steps after their job.

    A step's Submit is its start and its Restarts is empty, so a step belongs to the job before it.  Slurm 22.05 does
    not say Restarts of a job either: there its runs are counted as they come.
    """
    job: Job | None = None
    requeued: dict[tuple[str, str, int], int] = {}
    for line in lines:
        try:
            fields = _split(line)
            job_id, step = _identify(fields["JobIDRaw"])
            if step is None:
                job = _job(job_id, fields)
                if not fields["Restarts"]:
                    job = job._replace(restart=requeued.get(job[1:4], 0))
                    if job.state == "REQUEUED":
                        requeued[job[1:4]] = job.restart + 1
                yield job
            elif job is None or (job.cluster, job.job) != (fields["Cluster"], job_id):
                yield OddRow(line, "a step without its job before it")
            else:
                yield _step(job, step, fields)
        except ValueError as error:
            yield OddRow(line, str(error))


def cpu_time(text: str) -> int:
    """Return ``[DAYS-[HOURS:]]MINUTES:SECONDS[.FRACTION]`` in microseconds; raises ValueError."""
    match = _CPU.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a CPU time"
        raise ValueError(message)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return whole * MICROSECONDS + int((match[5] or "").ljust(6, "0"))


def _split(line: str) -> dict[str, str]:
    # The administrators' comment stands last and may hold anything: what follows belongs to it.
    values = line.split(SEPARATOR, len(FIELDS) - 1)
    if len(values) != len(FIELDS):
        message = f"{len(values)} fields instead of {len(FIELDS)}"
        raise ValueError(message)
    return dict(zip(FIELDS, values, strict=True))


def _identify(text: str) -> tuple[str, str | None]:
    match = _ID.fullmatch(text)
    if match is None:
        message = f"{text!r} is not the id of a job or step"
        raise ValueError(message)
    return match["job"], match["step"]


def _job(job_id: str, fields: dict[str, str]) -> Job:
    submit = _time(fields["Submit"])
    if submit is None:
        message = "a job without a submit time"
        raise ValueError(message)
    if not fields["Cluster"]:
        message = "a job without a cluster"
        raise ValueError(message)
    return Job(
        batch=SLURM,
        cluster=fields["Cluster"],
        job=job_id,
        submit=submit,
        restart=_integer(fields["Restarts"]) or 0,
        account=fields["User"],
        uid=_integer(fields["UID"]),
        start=_time(fields["Start"]),
        end=_time(fields["End"]),
        state=_state(fields["State"]),
        exit_code=fields["ExitCode"],
        user_cpu=cpu_time(fields["UserCPU"]),
        system_cpu=cpu_time(fields["SystemCPU"]),
        total_cpu=cpu_time(fields["TotalCPU"]),
        nodes=fields["NodeList"],
        stamp=fields["AdminComment"],
        queue=fields["Partition"],
        group_name=fields["Group"],
        project=fields["Account"],
        cores=_integer(fields["AllocCPUS"]),
        wall=None if (elapsed := _integer(fields["ElapsedRaw"])) is None else elapsed * MICROSECONDS,
    )


def _step(job: Job, step: str, fields: dict[str, str]) -> Step:
    return Step(
        batch=job.batch,
        cluster=job.cluster,
        job=job.job,
        submit=job.submit,
        restart=job.restart,
        step=step,
        start=_time(fields["Start"]),
        end=_time(fields["End"]),
        state=_state(fields["State"]),
        user_cpu=cpu_time(fields["UserCPU"]),
        system_cpu=cpu_time(fields["SystemCPU"]),
        total_cpu=cpu_time(fields["TotalCPU"]),
        nodes=fields["NodeList"],
    )


def _time(text: str) -> int | None:
    """Read a time that sacct printed as seconds since the epoch (SLURM_TIME_FORMAT=%s)."""
    if text in _NO_TIME:
        return None
    seconds = _integer(text)
    return None if seconds is None else seconds * MICROSECONDS


def _integer(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        message = f"{text!r} is not a number"
        raise ValueError(message)
    return int(text)


def _state(text: str) -> str:
    if _STATE.fullmatch(text) is None:
        message = f"{text!r} is not a state"
        raise ValueError(message)
    return text
