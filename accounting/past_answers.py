"""From facts of the past to answers: runs that hooks recorded, jobs that only the batch system did, kills, gaps.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.accounting import answers, evidence, lease_history
from gridwarden.accounting.job_runs import LAUNCHER, Body, Run, number, text
from gridwarden.accounting.lease_history import LOCAL, Candidate, Sighting
from gridwarden.accounting.same_job import OWNERS_WORD, is_its_owners_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.batch_records import Job

_ENDED = "; the batch system says when it ended"


def of_run(run: Run, job: Job | None, start: Body, later: Sequence[Sighting] = ()) -> list[Answer]:
    """A job whose start a hook recorded; ``job`` is the batch system's own record of it, ``start`` that of a payload.

    ``later`` are those whose the account was at its end, where that was not its holder alone: then any may be behind it.
    """
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
        because += "; its ad says when it ended, and its owner can change that" if is_its_owners_word(job) else _ENDED
    answer = answers.NOTHING._replace(
        account=run.account, node=run.node, cluster=run.cluster, batch=run.batch, job=run.job, since=run.start, until=until
    )  # fmt: skip
    if later:
        begin = max(later[0].time, run.start) if later[0].begins else run.start
        because += f"; the account changed hands {lease_history.window(begin, run.end or begin)}"
        others = [answers.named(answer, each, evidence.AMBIGUOUS, because) for each in later]
        return [answers.named(answer, run, evidence.AMBIGUOUS, because), *others]
    return answers.everybody_of(answers.named(answer, run, evidence.BATCH, because), start)


def of_job(job: Job, candidates: Sequence[Candidate], stamped: Sighting | None, *, lent: bool) -> list[Answer]:
    """A job that only the batch system recorded; ``lent`` says whether its account is one that is lent.

    Nothing that its owner can change is better than declared.
    """
    found = _of_job(job, candidates, stamped, lent=lent)
    if job.start is None:
        found = [each._replace(because=f"{each.because}; the job had not begun, by that record") for each in found]
    if not is_its_owners_word(job):
        return found
    return [
        each._replace(evidence=evidence.weakest({each.evidence, evidence.DECLARED}), because=each.because + OWNERS_WORD)
        for each in found
    ]


def _of_job(job: Job, candidates: Sequence[Candidate], stamped: Sighting | None, *, lent: bool) -> list[Answer]:
    answer = answers.NOTHING._replace(
        account=job.account, node=job.nodes, cluster=job.cluster, batch=job.batch, job=job.job,
        since=job.start, until=job.end,
    )  # fmt: skip
    if not lent:
        because = "the batch system's record; an account of its own, which is lent to nobody"
        return [answer._replace(evidence=evidence.BATCH, scheme=LOCAL, identity=job.account, because=because)]
    missing = "no hook recorded the job's start"
    if candidates:
        level, because = answers.level_of(candidates, f"{missing}; {candidates[0].because}")
        return [answers.named(answer, candidate, level, because) for candidate in candidates]
    if stamped is not None and stamped.account == job.account:
        return [answers.named(answer, stamped, evidence.DECLARED, f"{missing}; the stamp on the job names the lease")]
    return [answer._replace(evidence=evidence.AMBIGUOUS, because=f"{missing}, and none who held the account then")]


def of_kill(body: Body, lending: Sighting | None, candidates: Sequence[Candidate]) -> list[Answer]:
    """A process that was killed: at the end of its account's last job on the node, or by the pruner."""
    answer = answers.NOTHING._replace(
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
    at_once = len(candidates) > 1 and any(not each.lease for each in candidates)  # the holder file knew of one alone
    if lending is not None and not at_once:
        return [answers.named(answer, lending, evidence.LEASE_HISTORY, because)]
    return answers.any_of(candidates, answer, because, "; no record says who held the account")


def of_holding(account: str, candidates: Sequence[Candidate]) -> list[Answer]:
    """An account that was held, while none of its jobs is known to have run."""
    level, _ = answers.level_of(candidates, "")
    return [
        answers.named(
            answers.NOTHING._replace(account=account, since=each.since),
            each,
            level,
            f"no job of it is known then; {each.because}",
        )
        for each in candidates
    ]


def of_gap(body: Body) -> Answer:
    """A gap in the records."""
    return answers.NOTHING._replace(
        evidence=evidence.AMBIGUOUS,
        node=text(body, "node"),
        cluster=text(body, "cluster"),
        since=number(body, "time"),
        until=number(body, "time"),
        because=f"a gap in the records: {text(body, 'what')}: {text(body, 'reason')}",
    )


def in_slot(answer: Answer, account: str, job: Job) -> Answer:
    """The answer for a job that ran under the account of the slot it had, not under its owner's."""
    because = f"it ran in {job.slot}, whose account that is; the job is {job.account}'s: {answer.because}"
    return answer._replace(account=account, because=because)
