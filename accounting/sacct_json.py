"""Slurm's accounting as ``sacct --json`` wrote it to a file: jobs of years that no slurmdbd knows any more.  Pure.

Seen of 22.05 (openapi dbv0.0.38) and 24.11 (data_parser v0.0.42).  22.05 gives no CPU time of a job as a whole (only its
steps' are right), no restart count and, without associations, no user; 24.11 writes some numbers as objects and states as
lists.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gridwarden.accounting.batch_records import SLURM, Job, Step
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LARGEST_JOB = 64 << 20  # characters; a job of ten thousand steps takes 30 million
_JOBS = re.compile(r'"jobs"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_MEMORY = "mem"


def documents(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the text of each job, however large the file is; raises ValueError where it is no such file or is cut short."""
    text, at, found = "", 0, False
    decoder = json.JSONDecoder()
    for chunk in chunks:
        text, at = text[at:] + chunk, 0
        if not found:
            match = _JOBS.search(text)
            if match is None:
                _limit(text)
                continue
            found, at = True, match.end()
        while True:
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if text[at : at + 1] == "]":
                return
            try:
                _, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                _limit(text[at:])
                break  # the rest of it is still to come
            yield text[at:end]
            at = end
    raise ValueError("it was cut short" if found else "it holds no list of jobs")


class Reader:
    """Reads jobs in the order of their file, since 22.05 does not say the how manieth run of a job one is."""

    def __init__(self) -> None:
        self._requeued: dict[tuple[str, str, int], int] = {}

    def parse(self, text: str) -> list[Job | Step]:
        """Return a job and its steps; raises ValueError with the reason for one that cannot be understood."""
        try:
            job = json.loads(text)
            return self._rows(job)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"is not a job as sacct writes it: {error!r}") from error

    def _rows(self, job: dict[str, Any]) -> list[Job | Step]:
        number, submit = str(_whole(job["job_id"])), _instant(job["time"]["submission"])
        cluster = job["cluster"]
        if submit is None or not cluster:
            raise ValueError("a job without a cluster or submit time")
        run = (cluster, number, submit)
        restart = job.get("restart_cnt")
        if restart is None:
            restart = self._requeued.get(run, 0)
            if "REQUEUED" in _states(job["state"]["current"]):
                self._requeued[run] = restart + 1
        steps = [_step(each, (SLURM, *run, _whole(restart))) for each in job["steps"]]
        return [_job(job, run, _whole(restart), steps), *steps]


def _job(job: dict[str, Any], run: tuple[str, str, int], restart: int, steps: list[Step]) -> Job:
    time = job["time"]
    user, system, total = (_microseconds(time[part]) for part in ("user", "system", "total"))
    if not total:
        user, system, total = (
            sum(getattr(step, f"{part}_cpu") for step in steps) for part in ("user", "system", "total")
        )
    states = _states(job["state"]["current"])
    allocated = {each["type"]: each["count"] for each in (job.get("tres") or {}).get("allocated") or []}
    elapsed = time.get("elapsed")
    return Job(
        batch=SLURM,
        cluster=run[0],
        job=run[1],
        submit=run[2],
        restart=restart,
        account=job.get("user") or (job.get("association") or {}).get("user") or "",
        uid=None,
        start=_instant(time["start"]),
        end=_instant(time["end"]),
        state="REQUEUED" if "REQUEUED" in states else states[0],
        exit_code=_exit_code(job.get("exit_code") or {}),
        user_cpu=user,
        system_cpu=system,
        total_cpu=total,
        nodes=_text(job.get("nodes")),
        stamp=_text((job.get("comment") or {}).get("administrator")),
        name=_text(job.get("name")),
        queue=_text(job.get("partition")),
        group_name=_text(job.get("group")),
        project=_text(job.get("account")),
        cores=_whole(allocated["cpu"]) if "cpu" in allocated else None,
        wall=None if elapsed is None else _whole(elapsed) * MICROSECONDS,
        memory=max((each for step in job["steps"] if (each := _peak(step)) is not None), default=None),
    )


def _step(step: dict[str, Any], job: tuple[str, str, str, int, int]) -> Step:
    time, name = step["time"], step["step"]["id"]
    nodes = step["nodes"]
    return Step(
        *job,
        step=str(name).rpartition(".")[2],
        start=_instant(time["start"]),
        end=_instant(time["end"]),
        state=_states(step["state"])[0],
        user_cpu=_microseconds(time["user"]),
        system_cpu=_microseconds(time["system"]),
        total_cpu=_microseconds(time["total"]),
        nodes=_text(nodes.get("range") if isinstance(nodes, dict) else nodes),
    )


def _peak(step: dict[str, Any]) -> int | None:
    """Return the most memory that a task of the step had at once, in bytes."""
    most = step["tres"]["requested"]["max"]
    return max((_whole(each["count"]) for each in most if each["type"] == _MEMORY), default=None)


def _whole(value: Any) -> int:  # noqa: ANN401  JSON
    if isinstance(value, dict):
        value = value["number"] if value["set"] else 0
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return value


def _instant(value: Any) -> int | None:  # noqa: ANN401  JSON
    seconds = _whole(value or 0)
    return seconds * MICROSECONDS if 0 < seconds < 1 << 40 else None


def _microseconds(value: dict[str, Any]) -> int:
    return _whole(value["seconds"]) * MICROSECONDS + _whole(value["microseconds"])


def _states(value: Any) -> list[str]:  # noqa: ANN401  JSON
    states = value if isinstance(value, list) else [value]
    if not states or not all(isinstance(state, str) and state for state in states):
        raise ValueError("no state")
    return states


def _exit_code(value: dict[str, Any]) -> str:
    """Return CODE:SIGNAL as sacct prints it."""
    signal = value.get("signal") or {}
    number = signal.get("id", signal.get("signal_id"))
    return f"{_whole(value.get('return_code') or 0)}:{_whole(number or 0)}"


def _text(value: Any) -> str:  # noqa: ANN401  JSON
    return "" if value is None or value == "None assigned" else str(value)


def _limit(text: str) -> None:
    if len(text) > LARGEST_JOB:
        raise ValueError(f"it holds no job within {LARGEST_JOB} characters")
