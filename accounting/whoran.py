"""Answer who ran: from the living processes of this machine, and from what was recorded.

An answer never says more than its evidence level; what could not be read is said in a note.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, payloads, proc, register
from gridwarden.accounting import answers, evidence, hostlist, lease_history, live_process, past_answers, past_process
from gridwarden.accounting.attribute import is_of
from gridwarden.accounting.job_runs import number, text
from gridwarden.accounting.lease_history import Candidate
from gridwarden.accounting.process_records import BLUR
from gridwarden.batch import slurm
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.pools import is_of_pool

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.live_process import LiveProcess
    from gridwarden.accounting.past import Past
    from gridwarden.accounting.question import Question
    from gridwarden.holders import Holder
    from gridwarden.payload_state import State
    from gridwarden.register import Entry


class Node(NamedTuple):
    """Where this machine says what runs on it now; ``spool`` is Slurm's, in which %n is a node's name."""

    holders: Path
    register: Path
    spool: str
    pools: tuple[str, ...]

    @property
    def payloads(self) -> Path:
        """Where the state files of payloads are: beside the register."""
        return self.register.parent / "payloads"


def whoran(question: Question, node: Node, past: Past) -> tuple[list[Answer], list[str]]:
    """Return the answers to a question, the earliest first, and notes on what they leave out."""
    notes: list[str] = []
    if question.pid is not None:
        found = _of_pid(question, question.pid, node, past, notes)
        if len({(answer.node, answer.since) for answer in found}) > 1:
            notes.append(f"more than one process had the pid {question.pid}; SINCE tells them apart")
        if not found and not notes:
            notes.append(f"no process of this machine has the pid {question.pid}, and no record names one that had it")
    else:
        found = _during(question, node, past)
    chosen = [
        answer
        for answer in found
        if question.lets_pass(
            nodes=hostlist.expand(answer.node), account=answer.account, subject=answer.identity, job=answer.job
        )
    ]
    if question.pid is not None and len(chosen) < len(found):
        notes.append("the options leave out a process that had the pid; whoran finds a living one only on its own node")
    if chosen and all(answer.evidence == evidence.KERNEL_MEASURED for answer in chosen):
        return chosen, notes  # which does not rest on the past
    # A ledger that was given another name is in the store twice.
    return sorted(set(chosen), key=lambda answer: (answer.since or 0, repr(answer))), [*notes, *past.unread]


def _of_pid(question: Question, pid: int, node: Node, past: Past, notes: list[str]) -> list[Answer]:
    """Answer for the process that has the pid, those that had it, and their descendants where these are asked for."""
    is_lent = partial(_is_lent, node=node)
    process = live_process.look(pid)
    living = process is not None and (question.within is None or process.started < question.within.end)
    found = _living(pid, node, past, notes) if living else []
    if process is not None and living and question.children:
        for child in live_process.descendants(pid):
            found += _living(child, node, past, notes)
        found += past_process.children(pid, process.started, past, notes, is_lent)
    killed = _killed(question, past)  # whose records say more
    ended = past_process.ended(question, past, notes, is_lent)
    return [*found, *killed, *(each for each in ended if not any(_is_same(each, kill) for kill in killed))]


def _is_same(one: Answer, other: Answer) -> bool:
    """Say whether both are about one process: the kernel's record of it, and whoever killed it."""
    return (one.node, one.pid) == (other.node, other.pid) and abs((one.since or 0) - (other.since or 0)) <= BLUR


def _living(pid: int, node: Node, past: Past, notes: list[str]) -> list[Answer]:
    """Answer for the process that has the pid now."""
    process = live_process.look(pid)
    if process is None:
        return []
    steps = slurm.steps_here(node.spool)
    if steps is None:
        notes.append(f"which job steps run here cannot be told: {node.spool} cannot be read")
    lineage = (process.pid, *process.ancestors)
    if state := _payload_of(lineage, node, notes):
        return answers.of_payload(process, state)
    step = next((step for each in lineage for step in steps or () if step.pid == each), None)
    if step is None:
        return _outside_steps(process, node, past, notes, steps_known=steps is not None)
    return _below_step(process, step, node, past, notes)


def _payload_of(lineage: tuple[int, ...], node: Node, notes: list[str]) -> State | None:
    """Return the payload whose launcher, which lives, is among these processes."""
    try:
        states = payloads.everything(str(node.payloads))
    except PermissionError:
        return None  # nor can the register be read, which is said
    except (ConfigurationError, OSError) as error:
        notes.append(f"which payloads run here cannot be told: {getattr(error, 'strerror', None) or error}")
        return None
    starts = {pid: found.start for pid in lineage[1:] if (found := proc.read(pid))} if states else {}
    return next((state for state in states if starts.get(state.launcher) == state.launcher_start), None)


def _outside_steps(
    process: LiveProcess, node: Node, past: Past, notes: list[str], *, steps_known: bool
) -> list[Answer]:
    """Answer for a process that no job step, of those that are known, is a parent of."""
    if not _is_lent(process.user, node):
        where = "is in no batch job, and " if steps_known else ""
        notes.append(
            f"process {process.pid} ({process.command}) {where}runs as {process.user}, an account that is not lent"
        )
        return []
    entries = _registered(node, notes)
    candidates = _candidates(process.user, process.started, node, past)
    if entries is None or not steps_known:
        return answers.of_unplaced(process, _this_node(), candidates)
    of_account = [entry for entry in entries if entry.account == process.user]
    return answers.of_stray(process, _this_node(), of_account, candidates)


def _below_step(process: LiveProcess, step: slurm.Step, node: Node, past: Past, notes: list[str]) -> list[Answer]:
    """Answer for a process below a job step, or for the step's own slurmstepd."""
    entries = _registered(node, notes)
    entry = next((each for each in entries or () if (each.node, each.job) == (step.node, step.job)), None)
    if entry is None:
        candidates = _candidates(process.user, process.started, node, past)
        missing = "the register cannot be read" if entries is None else "no hook entered the job in the register"
        lent = _is_lent(process.user, node)
        return answers.of_unregistered(process, step.node, step.job, candidates, missing, lent=lent)
    if process.uid not in {0, entry.uid}:
        return [answers.of_guest(process, entry, _holder(process.user, node)[0])]
    holder, why = _holder(entry.account, node)
    return [answers.of_step(process, entry, holder, past.lending(entry.lease, entry.account), why)]


def _killed(question: Question, past: Past) -> list[Answer]:
    """Answer for processes that were killed: those of the question's pid, or those that lived in its time."""
    processes = {
        (text(kill, "node"), number(kill, "pid"), number(kill, "process_start")): kill for kill in past.kills(question)
    }
    found: list[Answer] = []
    for kill in processes.values():
        account = text(kill, "account")
        lending = past.lending(text(kill, "lease"), account)
        candidates = lease_history.holders_at(past.sightings(account), account, number(kill, "process_start"))
        of_kill = past_answers.of_kill(kill, lending, candidates)
        if len(of_kill) == 1 and text(kill, "batch") == PAYLOAD:
            of_kill = answers.everybody_of(of_kill[0], past.start_of_payload(text(kill, "job")))
        found += of_kill
    return found


def _during(question: Question, node: Node, past: Past) -> list[Answer]:
    """Answer for a time: jobs by their hooks, jobs by the batch system alone, strays, gaps, bare holdings."""
    runs = past.runs(question)
    since, until = question.within or (0, past.FOREVER)
    found = [
        answer
        for run in runs
        for answer in past_answers.of_run(run, past.job_of(run), past.start_of(run))
        if _overlaps(answer, since, until)
    ]
    runs_of: dict[str, list[Run]] = {}
    for run in runs:
        runs_of.setdefault(run.job, []).append(run)
    for job in past.jobs(question):
        if not any(is_of(run, job) for run in runs_of.get(job.job, ())):
            found += _recorded_by_batch(job, node, past)
    found += _killed(question, past)
    account = question.exact("account")
    if isinstance(account, str) and not any(answer.account == account for answer in found):
        holding = lease_history.holders_within(past.sightings(account), account, since, until)
        found += past_answers.of_holding(account, holding)
    if question.within is not None:
        found += [past_answers.of_gap(gap) for gap in past.gaps(question)]
    return found


def _recorded_by_batch(job: Job, node: Node, past: Past) -> list[Answer]:
    sightings = past.sightings(job.account)
    lent = bool(sightings or job.stamp) or _is_lent(job.account, node)
    candidates = lease_history.holders_at(sightings, job.account, job.start or job.submit)
    return past_answers.of_job(job, candidates, past.lending(job.stamp, job.account) if job.stamp else None, lent=lent)


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
    return any(is_of_pool(account, pool) for pool in node.pools) or _holder(account, node)[0] is not None


def _registered(node: Node, notes: list[str]) -> list[Entry] | None:
    """Return the jobs that hooks have started here; None when that cannot be told."""
    try:
        return register.everything(node.register)
    except (ConfigurationError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        notes.append(f"the register of running jobs {node.register} cannot be read: {why.lower()}")
        return None


def _this_node() -> str:
    return os.uname().nodename.partition(".")[0]
