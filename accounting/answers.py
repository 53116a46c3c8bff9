"""From facts to answers: who it was, and how that is known.  Pure; whoran gathers the facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import evidence
from gridwarden.accounting.batch_records import SLURM
from gridwarden.accounting.job_runs import LAUNCHER, Body, Run, number, text
from gridwarden.accounting.lease_history import LOCAL, Candidate, Sighting
from gridwarden.payloads import BATCH
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.live_process import LiveProcess
    from gridwarden.holders import Holder
    from gridwarden.payloads import State
    from gridwarden.register import Entry

# The kernel knows a process's start to a clock tick after the boot, and NTP may move the wall clock since.
START_BLUR = MICROSECONDS


class Answer(NamedTuple):
    """One row: who (``scheme``, ``identity``, ``vo``), where, in which job, from when to when, how known.

    ``since`` and ``until`` are in microseconds since the epoch; ``until`` is None while it lasts.  ``identity``
    is empty where nobody can be named; ``node`` holds several names, as Slurm writes them, for a job of several.
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


NOTHING = Answer("", "", "", "", "", "", "", "", "", None, None, None, "")


def of_step(
    process: LiveProcess, entry: Entry, holder: Holder | None, lending: Sighting | None, why_no_holder: str
) -> Answer:
    """A process below the job step of a registered job; ``holder`` is its account's, now."""
    answer = _of_entry(process, entry)
    if holder is not None and holder.lease == entry.lease:
        because = "its parents lead to the job's slurmstepd; register and holder file agree"
        return _named(answer, holder, evidence.KERNEL_MEASURED, because)
    if holder is not None:
        why_no_holder = "the account was lent anew since the job started"
    if lending is not None:
        return _named(answer, lending, evidence.BATCH, f"by the lease that the job started under; {why_no_holder}")
    return answer._replace(evidence=evidence.AMBIGUOUS, because=f"the job's holder is not known: {why_no_holder}")


def of_payload(process: LiveProcess, state: State) -> Answer:
    """A process below a launcher that lives: what that launcher verified, and in whose batch job."""
    within = f", in {state.batch} job {state.job}" if state.job else ""
    because = f"its parents lead to the launcher, which verified the credential; a payload of {state.pilot}{within}"
    return NOTHING._replace(
        evidence=evidence.KERNEL_MEASURED, scheme=state.scheme, identity=state.subject, vo=state.vo,
        account=state.account, node=state.node, cluster=state.cluster, batch=BATCH, job=state.payload, pid=process.pid,
        since=state.start, because=because,
    )  # fmt: skip


def of_guest(process: LiveProcess, entry: Entry, holder: Holder | None) -> Answer:
    """A process below a job step that runs as another account than the job's."""
    answer = _of_entry(process, entry)._replace(account=process.user)
    because = f"runs inside a job of {entry.account}"
    if holder is not None and holder.since <= process.started + START_BLUR:
        return _named(
            answer, holder, evidence.LEASE_HISTORY, f"{because}; the holder file says who holds {process.user}"
        )
    return answer._replace(evidence=evidence.AMBIGUOUS, because=f"{because}; who held {process.user} is not known")


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
    return _any_of(candidates, answer, f"{because}; {missing}", ", and no record says who held the account")


def of_unplaced(process: LiveProcess, node: str, candidates: Sequence[Candidate]) -> list[Answer]:
    """A process of a lent account where the job steps or the register could not be read."""
    here = NOTHING._replace(account=process.user, node=node, pid=process.pid, since=process.started)
    because = "whether a job accounts for it cannot be told"
    return _any_of(candidates, here, because, ", nor who held the account, from what could be read")


def of_stray(
    process: LiveProcess, node: str, entries: Sequence[Entry], candidates: Sequence[Candidate]
) -> list[Answer]:
    """A process of a lent account that no job step is a parent of; ``entries`` are the account's jobs here."""
    here = NOTHING._replace(account=process.user, node=node, pid=process.pid, since=process.started)
    running = [entry for entry in entries if entry.start <= process.started + START_BLUR]
    if not running:
        because = "a stray: no job of the account that runs here accounts for it"
        return _any_of(candidates, here, because, ", and no record says who held it")
    answers = []
    for entry in running:
        because = "it has left its job's process tree; "
        if len(running) == 1:
            because += f"job {entry.job} is the account's only one here, so likely its own"
        else:
            because += f"one of the account's {len(running)} jobs here may be its own"
        answer = _of_entry(process, entry)._replace(since=process.started)
        found = _any_of(candidates, answer, because, "; no record says who held the account")
        answers += found if len(running) == 1 else [each._replace(evidence=evidence.AMBIGUOUS) for each in found]
    return answers


def of_run(run: Run, job: Job | None) -> Answer:
    """A job whose start a hook recorded; ``job`` is the batch system's own record of it."""
    until = run.end
    because = "a hook verified the holder when the job started"
    if run.evidence == LAUNCHER:
        because = "the launcher verified the credential when the payload started"
    if run.evidence == "holder+link":
        because += ", and the gridmapdir confirmed it"
    if run.ended_by == "restart":
        because += "; its end was not recorded, the node was restarted before then"
    if job is not None and job.end is not None and (until is None or run.ended_by == "restart"):
        until = job.end
        because += "; the batch system says when it ended"
    answer = NOTHING._replace(
        account=run.account, node=run.node, cluster=run.cluster, batch=run.batch, job=run.job, since=run.start, until=until
    )  # fmt: skip
    return _named(answer, run, evidence.BATCH, because)


def of_job(job: Job, candidates: Sequence[Candidate], stamped: Sighting | None, *, lent: bool) -> list[Answer]:
    """A job that only the batch system recorded; ``lent`` says whether its account is one that is lent."""
    answer = NOTHING._replace(
        account=job.account, node=job.nodes, cluster=job.cluster, batch=job.batch, job=job.job,
        since=job.start, until=job.end,
    )  # fmt: skip
    if not lent:
        because = "the batch system's record; an account of its own, which is lent to nobody"
        return [answer._replace(evidence=evidence.BATCH, scheme=LOCAL, identity=job.account, because=because)]
    missing = "no hook recorded the job's start"
    if candidates:
        level, because = _level(candidates, f"{missing}; {candidates[0].because}")
        return [_named(answer, candidate, level, because) for candidate in candidates]
    if stamped is not None and stamped.account == job.account:
        return [_named(answer, stamped, evidence.DECLARED, f"{missing}; the stamp on the job names the lease")]
    return [answer._replace(evidence=evidence.AMBIGUOUS, because=f"{missing}, and none who held the account then")]


def of_kill(body: Body, lending: Sighting | None, candidates: Sequence[Candidate]) -> list[Answer]:
    """A process that was killed: at the end of its account's last job on the node, or by the pruner."""
    answer = NOTHING._replace(
        account=text(body, "account"),
        node=text(body, "node"),
        cluster=text(body, "cluster"),
        batch=text(body, "batch"),
        job=text(body, "job"),
        pid=number(body, "pid"),
        since=number(body, "process_start"),
        until=number(body, "time"),
    )
    job = text(body, "job")
    when = f"when job {job} ended, the account's last one there" if job else f"by the pruner: {text(body, 'why')}"
    because = f"a stray ({text(body, 'command')}), killed with signal {text(body, 'signal')} {when}"
    if lending is not None:
        return [_named(answer, lending, evidence.LEASE_HISTORY, because)]
    return _any_of(candidates, answer, because, "; no record says who held the account")


def of_holding(account: str, candidates: Sequence[Candidate]) -> list[Answer]:
    """An account that was held, while none of its jobs is known to have run."""
    level, _ = _level(candidates, "")
    return [
        _named(
            NOTHING._replace(account=account, since=each.since),
            each,
            level,
            f"no job of it is known then; {each.because}",
        )
        for each in candidates
    ]


def of_gap(body: Body) -> Answer:
    """A gap in the records."""
    return NOTHING._replace(
        evidence=evidence.AMBIGUOUS,
        node=text(body, "node"),
        cluster=text(body, "cluster"),
        since=number(body, "time"),
        until=number(body, "time"),
        because=f"a gap in the records: {text(body, 'what')}: {text(body, 'reason')}",
    )


def _of_entry(process: LiveProcess, entry: Entry) -> Answer:
    return NOTHING._replace(
        account=entry.account, node=entry.node, cluster=entry.cluster, batch=entry.batch, job=entry.job,
        pid=process.pid, since=entry.start,
    )  # fmt: skip


def _named(answer: Answer, who: Holder | Run | Sighting | Candidate, level: str, because: str) -> Answer:
    if who.scheme == LOCAL:
        because += "; a fixed account: whoever is mapped to it may have been behind it"
    return answer._replace(evidence=level, scheme=who.scheme, identity=who.subject, vo=who.vo, because=because)


def _any_of(candidates: Sequence[Candidate], answer: Answer, because: str, unknown: str) -> list[Answer]:
    """Give the answer for each candidate; without one, the answer itself, and ``unknown`` after its reason."""
    if not candidates:
        return [answer._replace(evidence=evidence.AMBIGUOUS, because=f"{because}{unknown}")]
    level, because = _level(candidates, because)
    return [_named(answer, candidate, level, because) for candidate in candidates]


def _level(candidates: Sequence[Candidate], because: str) -> tuple[str, str]:
    if len(candidates) > 1:
        return evidence.AMBIGUOUS, f"{because}; {candidates[0].because}"
    return evidence.LEASE_HISTORY, because
