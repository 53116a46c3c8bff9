"""From facts to answers: who it was, and how that is known.  Pure; whoran gathers the facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import evidence
from gridwarden.accounting.batch_records import SLURM
from gridwarden.accounting.job_runs import Body, Run, text
from gridwarden.accounting.lease_history import BY_ANOTHER, LOCAL, Candidate, Sighting
from gridwarden.payloads import BATCH
from gridwarden.records import KINDS
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.accounting.live_process import LiveProcess
    from gridwarden.holders import Holder
    from gridwarden.payload_state import State
    from gridwarden.register import Entry

# The kernel knows a process's start to a clock tick after the boot, and NTP may move the wall clock since.
START_BLUR = MICROSECONDS


class Answer(NamedTuple):
    """One row: who (``scheme``, ``identity``, ``vo``), where, in which job, from when to when, how known.

    ``since`` and ``until`` are in microseconds since the epoch; ``until`` is None while it lasts.  ``identity``
    is empty where nobody can be named; ``node`` holds several names, as Slurm writes them, for a job of several.
    ``lease`` is the lease that they held the account under, where that is known.
    """

    evidence: str
    scheme: str
    identity: str
    vo: str
    account: str
    node: str
    cluster: str
    batch: str
    job: str
    pid: int | None
    since: int | None
    until: int | None
    because: str
    lease: str = ""


NOTHING = Answer("", "", "", "", "", "", "", "", "", None, None, None, "")


def of_step(
    process: LiveProcess, entry: Entry, holder: Holder | None, lending: Sighting | None, why_no_holder: str
) -> Answer:
    """A process below the job step of a registered job; ``holder`` is its account's, now."""
    answer = _of_entry(process, entry)
    if holder is not None and holder.lease == entry.lease:
        because = "its parents lead to the job's slurmstepd; register and holder file agree"
        return named(answer, holder, evidence.KERNEL_MEASURED, because)
    if holder is not None:
        why_no_holder = "the account was lent anew since the job started"
    if lending is not None:
        return named(answer, lending, evidence.BATCH, f"by the lease that the job started under; {why_no_holder}")
    return answer._replace(evidence=evidence.AMBIGUOUS, because=f"the job's holder is not known: {why_no_holder}")


def of_payload(process: LiveProcess, state: State) -> list[Answer]:
    """A process below a launcher that lives: whom that launcher verified, and in whose batch job."""
    within = f", in {state.batch} job {state.job}" if state.job else ""
    because = f"its parents lead to the launcher, which verified the credential; a payload of {state.pilot}{within}"
    answer = NOTHING._replace(
        evidence=evidence.KERNEL_MEASURED, scheme=state.scheme, identity=state.subject, vo=state.vo,
        account=state.account, node=state.node, cluster=state.cluster, batch=BATCH, job=state.payload, pid=process.pid,
        since=state.start, because=because, lease=state.lease,
    )  # fmt: skip
    return everybody_of(answer, state.facts(*KINDS["payload_start"]))


def of_guest(process: LiveProcess, entry: Entry, candidates: Sequence[Candidate]) -> list[Answer]:
    """A process below a job step that runs as another account than the job's; ``candidates`` are of that account."""
    answer = _of_entry(process, entry)._replace(account=process.user)
    because = f"runs inside a job of {entry.account}"
    if len(candidates) == 1:
        because += f"; {candidates[0].because}"
    return any_of(candidates, answer, because, f"; who held {process.user} is not known")


def of_unregistered(
    process: LiveProcess, node: str, job: str, candidates: Sequence[Candidate], missing: str, *, lent: bool
) -> list[Answer]:
    """A process below a job step whose job the register does not have; ``missing`` says why."""
    answer = NOTHING._replace(
        account=process.user, node=node, batch=SLURM, job=job, pid=process.pid, since=process.started
    )
    because = "its parents lead to the job's slurmstepd"
    if not lent:
        because += "; an account of its own, which is lent to nobody"
        return [
            answer._replace(evidence=evidence.KERNEL_MEASURED, scheme=LOCAL, identity=process.user, because=because)
        ]
    return any_of(candidates, answer, f"{because}; {missing}", ", and no record says who held the account")


def of_unplaced(process: LiveProcess, node: str, candidates: Sequence[Candidate]) -> list[Answer]:
    """A process of a lent account where the job steps or the register could not be read."""
    here = NOTHING._replace(account=process.user, node=node, pid=process.pid, since=process.started)
    because = "whether a job accounts for it cannot be told"
    return any_of(candidates, here, because, ", nor who held the account, from what could be read")


def of_stray(
    process: LiveProcess, node: str, entries: Sequence[Entry], candidates: Sequence[Candidate]
) -> list[Answer]:
    """A process of a lent account that no job step is a parent of; ``entries`` are the account's jobs here."""
    here = NOTHING._replace(account=process.user, node=node, pid=process.pid, since=process.started)
    running = [entry for entry in entries if entry.start <= process.started + START_BLUR]
    if not running:
        because = "a stray: no job of the account that runs here accounts for it"
        return any_of(candidates, here, because, ", and no record says who held it")
    answers = []
    for entry in running:
        because = "it has left its job's process tree; "
        if len(running) == 1:
            because += f"job {entry.job} is the account's only one here, so likely its own"
        else:
            because += f"one of the account's {len(running)} jobs here may be its own"
        answer = _of_entry(process, entry)._replace(since=process.started)
        found = any_of(candidates, answer, because, "; no record says who held the account")
        answers += found if len(running) == 1 else [each._replace(evidence=evidence.AMBIGUOUS) for each in found]
    return answers


def _of_entry(process: LiveProcess, entry: Entry) -> Answer:
    return NOTHING._replace(
        account=entry.account, node=entry.node, cluster=entry.cluster, batch=entry.batch, job=entry.job,
        pid=process.pid, since=entry.start,
    )  # fmt: skip


def everybody_of(answer: Answer, start: Body) -> list[Answer]:
    """Give the answer for a payload's owner, and one for whom a second credential named, by the record of its start."""
    because, also = answer.because, text(start, "also_subject")
    if pilot := text(start, "pilot_subject"):
        known = ", ".join(filter(None, (text(start, "pilot_scheme"), text(start, "pilot_vo"))))
        because += f"; its pilot is {pilot}" + (f" ({known})" if known else "")
    if not also:
        return [answer._replace(because=because)]
    return [
        answer._replace(because=f"{because}; a credential of {also} was shown with theirs"),
        answer._replace(
            scheme=text(start, "also_scheme"),
            identity=also,
            vo=text(start, "also_vo"),
            because=f"{because}; the account is {answer.identity}'s, with whose credential theirs was shown",
        ),
    ]


def named(answer: Answer, who: Holder | Run | Sighting | Candidate, level: str, because: str) -> Answer:
    """Give the answer the name of who it was, by an evidence level."""
    if who.scheme == LOCAL:
        because += "; a fixed account: whoever is mapped to it may have been behind it"
    lease = who.lease
    if (isinstance(who, Candidate) and not lease) or (isinstance(who, Sighting) and who.is_anothers):
        because, lease = because + BY_ANOTHER, ""
    return answer._replace(
        evidence=level, scheme=who.scheme, identity=who.subject, vo=who.vo, because=because, lease=lease
    )


def any_of(candidates: Sequence[Candidate], answer: Answer, because: str, unknown: str) -> list[Answer]:
    """Give the answer for each candidate; without one, the answer itself, and ``unknown`` after its reason."""
    if not candidates:
        return [answer._replace(evidence=evidence.AMBIGUOUS, because=f"{because}{unknown}")]
    level, because = level_of(candidates, because)
    return [named(answer, candidate, level, because) for candidate in candidates]


def level_of(candidates: Sequence[Candidate], because: str) -> tuple[str, str]:
    """Return how good an answer is that rests on who may have held the account, and why."""
    if len(candidates) > 1:
        return evidence.AMBIGUOUS, f"{because}; {candidates[0].because}"
    return evidence.LEASE_HISTORY, because
