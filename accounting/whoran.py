"""Answer who ran: from the living processes of this machine, and from what was recorded.

An answer never says more than its evidence level; what could not be read is said in a note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, register
from gridwarden.accounting import answers, hostlist, lease_history, live_process
from gridwarden.accounting.attribute import is_of
from gridwarden.accounting.job_runs import number, text
from gridwarden.accounting.lease_history import Candidate
from gridwarden.batch import slurm
from gridwarden.errors import ConfigurationError, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.past import Past
    from gridwarden.accounting.question import Question
    from gridwarden.holders import Holder
    from gridwarden.register import Entry


class Node(NamedTuple):
    """Where this machine says what runs on it now; ``spool`` is Slurm's, in which %n is a node's name."""

    holders: Path
    register: Path
    spool: str
    pools: tuple[str, ...]


def whoran(question: Question, node: Node, past: Past) -> tuple[list[Answer], list[str]]:
    """Return the answers to a question, the earliest first, and notes on what they leave out."""
    notes: list[str] = []
    if question.pid is not None:
        found = [*_living(question.pid, node, past, notes), *_killed(question, past)]
        if len({(answer.node, answer.since) for answer in found}) > 1:
            notes.append(f"more than one process had the pid {question.pid}; SINCE tells them apart")
    else:
        found = _during(question, node, past)
    chosen = [
        answer
        for answer in found
        if question.lets_pass(
            nodes=hostlist.expand(answer.node), account=answer.account, subject=answer.identity, job=answer.job
        )
    ]
    return sorted(chosen, key=lambda answer: (answer.since or 0, answer)), [*notes, *past.unread]


def _living(pid: int, node: Node, past: Past, notes: list[str]) -> list[Answer]:
    """Answer for the process that has the pid now."""
    process = live_process.look(pid)
    if process is None:
        return []
    steps = slurm.steps_here(node.spool)
    if steps is None:
        notes.append(f"which job steps run here cannot be told: {node.spool} cannot be read")
    lineage = (process.pid, *process.ancestors)
    step = next((step for each in lineage for step in steps or () if step.pid == each), None)
    if step is None:
        if not _is_lent(process.user, node):
            notes.append(
                f"process {pid} ({process.command}) is in no batch job, and {process.user} is no account that is lent"
            )
            return []
        entries = [entry for entry in _registered(node, notes) if entry.account == process.user]
        return answers.of_stray(process, entries, _candidates(process.user, process.started, node, past))
    entry = next((each for each in _registered(node, notes) if (each.node, each.job) == (step.node, step.job)), None)
    if entry is None:
        candidates = _candidates(process.user, process.started, node, past)
        return answers.of_unregistered(process, step.node, step.job, candidates, lent=_is_lent(process.user, node))
    if process.uid not in {0, entry.uid}:
        return [answers.of_guest(process, entry, _holder(process.user, node)[0])]
    holder, why = _holder(entry.account, node)
    return [answers.of_step(process, entry, holder, past.lending(entry.lease), why)]


def _killed(question: Question, past: Past) -> list[Answer]:
    """Answer for processes that were killed: those of the question's pid, or those that lived in its time."""
    processes = {
        (text(kill, "node"), number(kill, "pid"), number(kill, "process_start")): kill for kill in past.kills(question)
    }
    found: list[Answer] = []
    for kill in processes.values():
        account = text(kill, "account")
        lending = past.lending(text(kill, "lease"))
        candidates = lease_history.holders_at(past.sightings(account), account, number(kill, "process_start"))
        found += answers.of_kill(kill, lending, candidates)
    return found


def _during(question: Question, node: Node, past: Past) -> list[Answer]:
    """Answer for a time: jobs by their hooks, jobs by the batch system alone, strays, gaps, bare holdings."""
    runs = past.runs(question)
    since, until = question.within or (0, past.FOREVER)
    found = [answer for run in runs if _overlaps(answer := answers.of_run(run, past.job_of(run)), since, until)]
    for job in past.jobs(question):
        if not any(is_of(run, job) for run in runs):
            found += _recorded_by_batch(job, node, past)
    found += _killed(question, past)
    account = question.exact("account")
    if isinstance(account, str) and not any(answer.account == account for answer in found):
        holding = lease_history.holders_within(past.sightings(account), account, since, until)
        found += answers.of_holding(account, holding)
    if question.within is not None:
        found += [answers.of_gap(gap) for gap in past.gaps(question)]
    return found


def _recorded_by_batch(job: Job, node: Node, past: Past) -> list[Answer]:
    sightings = past.sightings(job.account)
    lent = bool(sightings or job.stamp) or _is_lent(job.account, node)
    candidates = lease_history.holders_at(sightings, job.account, job.start or job.submit)
    return answers.of_job(job, candidates, past.lending(job.stamp) if job.stamp else None, lent=lent)


def _overlaps(answer: Answer, since: int, until: int) -> bool:
    """Say whether it did, now that the batch system may have told its end."""
    return (answer.since or 0) < until and (answer.until is None or answer.until >= since)


def _candidates(account: str, moment: int, node: Node, past: Past) -> list[Candidate]:
    """Return who may have held an account of this machine at a moment: its holder, if it was theirs then."""
    holder, _ = _holder(account, node)
    if holder is not None and holder.since <= moment:
        because = "the holder file says who holds the account"
        return [Candidate(holder.lease, holder.scheme, holder.subject, holder.vo, holder.since, because)]
    return lease_history.holders_at(past.sightings(account), account, moment)


def _holder(account: str, node: Node) -> tuple[Holder | None, str]:
    """Return the account's holder, or None and why there is none that can be believed."""
    try:
        return holders.read(node.holders, account), ""
    except Refused as refusal:
        return None, refusal.detail


def _is_lent(account: str, node: Node) -> bool:
    """Say whether an account is one of the pools, or a fixed one that somebody was mapped to."""
    of_pool = any(
        account.startswith(pool) and account[len(pool) :].isascii() and account[len(pool) :].isdigit()
        for pool in node.pools
    )
    return of_pool or _holder(account, node)[0] is not None


def _registered(node: Node, notes: list[str]) -> list[Entry]:
    try:
        return register.everything(node.register)
    except (ConfigurationError, OSError) as error:
        notes.append(f"the register of running jobs {node.register} cannot be read: {error}")
        return []
