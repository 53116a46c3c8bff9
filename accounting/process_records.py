"""Processes that have ended, as the kernel's records of them say; and from them to answers.  Pure.

Process accounting and exit statistics speak of the same process, each with a start to a second: they are put together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import answers, evidence
from gridwarden.accounting.lease_history import LOCAL
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.lease_history import Candidate

# A start is the second of the end less whole seconds of elapsed time.
BLUR = 2 * MICROSECONDS


class Process(NamedTuple):
    """One process: a row of the store's ``processes``; times and CPU times in microseconds."""

    node: str
    pid: int
    start: int
    end: int
    exact: int
    parent: int
    uid: int
    command: str
    account: str
    batch: str
    cluster: str
    job: str
    known_by: str

    def lived_at(self, since: int, until: int) -> bool:
        """Whether it may have lived at some time from ``since`` to before ``until``."""
        return self.start - BLUR < until and self.end + BLUR >= since


def merged(processes: Iterable[Process]) -> list[Process]:
    """Return each process once, by its exact record where there is one; the earliest first."""
    found: list[Process] = []
    # One that was just collected may have been read twice, without its account's name the second time.
    once = {(each.node, each.pid, each.start, each.end, each.exact): each for each in sorted(processes)}
    for process in sorted(once.values(), key=lambda each: (each.node, each.pid, -each.exact, each.start)):
        if not any(_same(process, other) for other in reversed(found)):
            found.append(process)
    return sorted(found, key=lambda each: (each.start, each.node, each.pid))


def of_process(
    process: Process, runs: Sequence[Run], candidates: Sequence[Candidate], lineage: Sequence[Process], *, lent: bool
) -> list[Answer]:
    """Answer for a process; ``runs`` are its account's there while it lived, ``lineage`` its ancestors, the parent first."""
    answer = answers.NOTHING._replace(
        account=process.account, node=process.node, cluster=process.cluster, batch=process.batch, job=process.job,
        pid=process.pid, since=process.start, until=process.end,
    )  # fmt: skip
    source = "exit statistics" if process.exact else "process accounting"
    because = f"the kernel's {source}: {process.command}{_parents(process, lineage)}"
    own = [run for run in runs if (run.batch, run.job) == (process.batch, process.job)] if process.job else []
    if own:
        because += f"; its job by {process.known_by}"
    whole = own or [run for run in runs if _covers(run, process)]
    holders = {(run.scheme, run.subject, run.lease) for run in whole if run.subject}
    if len(holders) == 1 and all(run.subject for run in whole):
        run = whole[0]
        if len(whole) == 1:
            answer = answer._replace(cluster=run.cluster, batch=run.batch, job=run.job)
        because += "; " + ("the account's only job there then" if len(runs) == 1 and not own else _who(whole))
        if any(each.changed_hands for each in whole):
            because += "; the account was somebody else's when that ended"
            others = (each for each in candidates if each.lease != run.lease)
            of_others = (answers.named(answer, each, evidence.AMBIGUOUS, because) for each in others)
            return [answers.named(answer, run, evidence.AMBIGUOUS, because), *of_others]
        return [answers.named(answer, run, evidence.KERNEL_MEASURED, because)]
    if len(holders) > 1:
        because += "; jobs of several people ran under the account there then"
        of_each = [answer._replace(cluster=run.cluster, batch=run.batch, job=run.job) for run in whole]
        return [answers.named(each, run, evidence.AMBIGUOUS, because) for each, run in zip(of_each, whole, strict=True)]
    if not process.account or not lent:
        name = process.account or f"uid {process.uid}"
        because += f"; {name} is lent to nobody"
        return [
            answer._replace(
                evidence=evidence.KERNEL_MEASURED, scheme=LOCAL, identity=name, account=name, because=because
            )
        ]
    return answers.any_of(candidates, answer, f"{because}; no job of the account is known there then", "")


def _who(runs: Sequence[Run]) -> str:
    return (
        "a hook verified the holder"
        if len(runs) == 1
        else f"all {len(runs)} jobs of the account there were the same person's"
    )


def _parents(process: Process, lineage: Sequence[Process]) -> str:
    known = [f"{each.pid} ({each.command})" for each in lineage]
    return ", child of " + ", of ".join(known or [str(process.parent)])


def _covers(run: Run, process: Process) -> bool:
    """Whether the process lived within the run; what outlives its job is a stray that may be another's."""
    return run.start - BLUR <= process.start and (run.end is None or process.end <= run.end + BLUR)


def _same(one: Process, other: Process) -> bool:
    return (
        (one.node, one.pid) == (other.node, other.pid)
        and one.exact != other.exact
        and abs(one.start - other.start) <= BLUR
        and abs(one.end - other.end) <= BLUR
    )
