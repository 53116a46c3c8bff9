"""Whose a batch job is, and who else it may be where that cannot be told.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import evidence
from gridwarden.accounting.job_runs import SOMEBODY
from gridwarden.accounting.lease_history import BY_ANOTHER, LOCAL, held_throughout, linked_by, window
from gridwarden.accounting.same_job import CONTRADICTED, OWNERS_WORD, is_contradicted, is_its_owners_word, is_of

if TYPE_CHECKING:
    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.lease_history import Candidate, Sighting
    from gridwarden.accounting.payload_runs import Payload


class Part(NamedTuple):
    """CPU time of one identity in one job: ``cpu`` as measured, ``batch`` by the batch system's figures alone.

    ``payload`` is the id of the payload that it is of, empty for the job's holder; ``because`` says why it is theirs.
    """

    scheme: str
    subject: str
    vo: str
    account: str
    cpu: int
    evidence: str
    batch: int = 0
    payload: str = ""
    because: str = ""
    fqan: str = ""


def fqan_of(part: Part, job: Job) -> str:
    """Return the primary FQAN of a part: of the lending, else of a job's holder what the job itself declares."""
    return part.fqan or ("" if part.payload or part.scheme == LOCAL else job.fqan)


class Holder(NamedTuple):
    """Whose job it is, without figures; None, and why, where nobody can be named, and who it may have been."""

    part: Part | None
    because: str = ""
    candidates: tuple[Part, ...] = ()


def holder_of(
    job: Job,
    runs: Sequence[Run],
    leases: Mapping[str, Sighting],
    payloads: Sequence[Payload],
    sightings: Sequence[Sighting],
) -> Holder:
    """Return whose job it is.

    A holder that a hook verified when the job started decides; without one, whom a launcher verified as the pilot in
    it; without one, who held its account all the time, by the records of then; and last the job's stamp, a claim.
    """
    verified = sorted((run for run in runs if run.subject and is_of(run, job)), key=lambda run: (run.ledger, run.seq))
    if verified:
        return _verified(job, verified, leases, sightings)
    because = "the launcher verified the pilot's own credential, in this job"
    pilots = {
        Part(each.pilot_scheme, each.pilot_subject, each.pilot_vo, job.account, 0, evidence.BATCH, because=because)
        for each in payloads
        if each.pilot_subject
    }
    if len({pilot[:2] for pilot in pilots}) > 1:
        return Holder(None, "its payloads' records name different pilots", _candidates(sorted(pilots)))
    if pilots:
        return Holder(min(pilots, key=lambda pilot: (not pilot.vo, pilot)))
    if is_contradicted(runs, job):
        return Holder(None, CONTRADICTED)
    return _by_observation(job, leases, sightings)


def _verified(
    job: Job, verified: Sequence[Run], leases: Mapping[str, Sighting], sightings: Sequence[Sighting]
) -> Holder:
    """Return the holder whom hooks verified at the start, unless they differ, or one saw another when the job ended."""
    parts = [_at_start(run, job, leases) for run in verified]
    if len({part[:2] for part in parts}) > 1:
        return Holder(None, "its nodes recorded different holders", _candidates(parts))
    changed = [run for run in verified if run.changed_hands]
    if changed:
        others = [part for run in changed for part in _at_end(run, job, leases, sightings)]
        when = others[0].because.partition("; ")[2]
        holder = parts[0]._replace(because=f"{parts[0].because}; {when}")
        return Holder(None, "its account was another's when it ended", _candidates([holder, *others]))
    ended = "and when it ended" if all(run.held for run in verified) else "and nobody looked when it ended"
    return Holder(parts[0]._replace(because=f"{parts[0].because}, {ended}"))


def _at_start(run: Run, job: Job, leases: Mapping[str, Sighting]) -> Part:
    """Return whom a hook verified when the job started."""
    lent = leases.get(run.lease)
    fqan = lent.fqan if lent and lent.account == job.account else ""
    because = f"a hook on {run.node} verified the holder when the job started"
    return Part(run.scheme, run.subject, run.vo, job.account, 0, evidence.BATCH, because=because, fqan=fqan)


def _at_end(run: Run, job: Job, leases: Mapping[str, Sighting], sightings: Sequence[Sighting]) -> list[Part]:
    """Return those whose the account was, instead or as well, when the job ended; nameless where that is not known."""
    others = [leases[run.held]] if run.held in leases else []
    if run.held == SOMEBODY:
        others = linked_by(sightings, job.account, run.end or run.start)
    first = min((other.time for other in others), default=0)
    begin = first if run.start < first < (run.end or 0) else run.start
    because = f"held it when the job ended; its account changed hands {window(begin, run.end or begin)}"
    names = [(other.scheme, other.subject, other.vo) for other in others] or [("", "", "")]
    return [Part(*who, job.account, 0, evidence.AMBIGUOUS, because=because) for who in names]


def _candidates(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return each of them once, as one of several."""
    each = {part[:3]: part._replace(evidence=evidence.AMBIGUOUS) for part in reversed(parts)}
    return tuple(reversed(each.values()))


def _by_observation(job: Job, leases: Mapping[str, Sighting], sightings: Sequence[Sighting]) -> Holder:
    """Return who held the job's account, by the records of then, else whom the job's stamp claims."""
    start = job.submit if job.start is None else job.start
    held = held_throughout(sightings, job.account, start, start if job.end is None else job.end, job.submit)
    if held.holder is None:
        if held.candidates:
            candidates = tuple(_part(each, job, evidence.AMBIGUOUS) for each in held.candidates)
            return Holder(None, held.because, candidates)
        return _stamped(job, leases)
    if job.stamp and job.stamp != held.holder.lease:
        return Holder(None, "its stamp names another lease than the account was lent under")
    if not held.holder.subject:
        return Holder(None, "no record names whose the lease of its account was")
    part = _part(held.holder, job, evidence.LEASE_HISTORY)
    if is_its_owners_word(job):
        part = part._replace(evidence=evidence.DECLARED, because=part.because + OWNERS_WORD)
    return Holder(part)


def _part(candidate: Candidate, job: Job, level: str) -> Part:
    who = (candidate.scheme, candidate.subject, candidate.vo)
    because = candidate.because + ("" if candidate.lease else BY_ANOTHER)
    return Part(*who, job.account, 0, level, because=because, fqan=candidate.fqan)


def _stamped(job: Job, leases: Mapping[str, Sighting]) -> Holder:
    if not job.stamp:
        return Holder(None, "no hook recorded its start, no record says who held its account, and it has no stamp")
    lending = leases.get(job.stamp)
    if lending is None:
        return Holder(None, "its stamp names no lease that is known here")
    if lending.account != job.account:
        return Holder(None, "its stamp names the lease of another account")
    named = (lending.scheme, lending.subject, lending.vo)
    because = "only the job's stamp says so"
    return Holder(Part(*named, job.account, 0, evidence.DECLARED, because=because, fqan=lending.fqan))
