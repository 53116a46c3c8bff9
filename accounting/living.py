"""Answer for a process of this machine that lives, by what the kernel, the register and the holder files say."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, payloads, proc, register
from gridwarden.accounting import answers, lease_history, live_process
from gridwarden.accounting.lease_history import Candidate, Sighting
from gridwarden.batch import slurm
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.pools import is_of_pool

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.live_process import LiveProcess
    from gridwarden.accounting.past import Past
    from gridwarden.holders import Holder
    from gridwarden.payload_state import State
    from gridwarden.register import Entry


def no_slot_account(_node: str, _slot: str) -> str:
    """Say that a slot has no account of its own."""
    return ""


class Node(NamedTuple):
    """Where this machine says what runs on it now; ``spool`` is Slurm's, in which %n is a node's name.

    ``slot_account`` says which account a slot of HTCondor's has on a node, "" for none of its own.
    """

    holders: Path
    register: Path
    spool: str
    pools: tuple[str, ...]
    slot_account: Callable[[str, str], str] = no_slot_account

    @property
    def payloads(self) -> Path:
        """Where the state files of payloads are: beside the register."""
        return self.register.parent / "payloads"


def living(pid: int, node: Node, past: Past, notes: list[str]) -> list[Answer]:
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
    if not is_lent(process.user, node):
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
        lent = is_lent(process.user, node)
        return answers.of_unregistered(process, step.node, step.job, candidates, missing, lent=lent)
    if process.uid not in {0, entry.uid}:
        lived = process.started + answers.START_BLUR
        return answers.of_guest(process, entry, _candidates(process.user, lived, node, past))
    if not entry.lease:
        candidates = lease_history.holders_at(past.sightings(entry.account), entry.account, process.started)
        return answers.of_unregistered(
            process, step.node, step.job, candidates, "no hook could verify whose the job is", lent=True
        )
    holder, why = _holder(entry.account, node)
    return [answers.of_step(process, entry, holder, past.lending(entry.lease, entry.account), why)]


def _candidates(account: str, moment: int, node: Node, past: Past) -> list[Candidate]:
    """Return who may have held an account of this machine at a moment: its holder, if it was theirs then, and theirs alone."""
    holder, _ = _holder(account, node)
    if holder is None or holder.since > moment:
        return lease_history.holders_at(past.sightings(account), account, moment)
    who = (holder.scheme, holder.subject, holder.vo)
    lending = Sighting(holder.since, account, holder.lease, *who, begins=True, name=holder.name)
    recorded = lease_history.holders_at([*past.sightings(account), lending], account, moment)
    if any(not each.lease for each in recorded):  # another program linked the account to somebody else since
        return recorded
    return [Candidate(holder.lease, *who, holder.since, "the holder file says who holds the account")]


def _holder(account: str, node: Node) -> tuple[Holder | None, str]:
    """Return the account's holder, or None and why there is none that can be believed."""
    try:
        return holders.read(node.holders, account), ""
    except Refused as refusal:
        return None, refusal.detail


def is_lent(account: str, node: Node) -> bool:
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
