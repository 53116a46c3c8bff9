"""How the CPU time of a job was divided, step by step, as ``attribute`` does it.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting.payload_runs import BY_EXITS
from gridwarden.accounting.same_job import is_its_owners_word
from gridwarden.accounting.show import cpu_text
from gridwarden.times import format_instant

if TYPE_CHECKING:
    from datetime import tzinfo

    from gridwarden.accounting.attribute import Attribution
    from gridwarden.accounting.attributed import Attributed
    from gridwarden.accounting.batch_records import Job, Step
    from gridwarden.accounting.holder_of_job import Part
    from gridwarden.accounting.payload_runs import Payload

SHOWN_STEPS = 8
OWNERS_FIGURES = "which the job's owner can change (condor_qedit)"


class Line(NamedTuple):
    """A step of a derivation; ``cpu`` and ``batch_cpu`` in microseconds by the two measures, None where a measure has none."""

    what: str
    identity: str
    account: str
    cpu: int | None
    batch_cpu: int | None
    evidence: str
    because: str


def explain(found: Attributed, zone: tzinfo) -> list[Line]:
    """Return the derivation of one job's division, from the batch system's total to the sum that is equal to it."""
    job, attribution = found.job, found.attribution
    counted = attribution.total - attribution.steps_discrepancy
    parts = {part.payload: part for part in attribution.parts}
    lines = [
        _plain("total", attribution.total, attribution.total, _total(job)),
        _plain("steps", counted, counted, _steps(found.steps)),
        *([_exits(job, counted, attribution.exact, held="" in parts)] if attribution.exact else []),
        *(_payload(payload, parts.get(payload.payload), job, zone) for payload in found.payloads),
    ]
    if found.payloads:
        used = sum(payload.cpu or 0 for payload in found.payloads)
        lines.append(_rest(counted, used))
    if holder := parts.get(""):
        lines.append(Line("holder", *_who(holder), holder.cpu, holder.batch, holder.evidence, holder.because))
    lines += [
        Line("candidate", *_who(each), None, None, each.evidence, each.because) for each in attribution.candidates
    ]
    return [*lines, *_sums(attribution)]


def heading(job: Job, zone: tzinfo) -> str:
    """Return in one line which run of which job it is."""
    ended = "has not ended" if job.end is None else f"ended {format_instant(job.end, zone)}"
    submitted = format_instant(job.submit, zone)
    return (
        f"{job.batch} job {job.job} of {job.cluster}, account {job.account}, submitted {submitted}, "
        f"restart {job.restart}, {job.state}, {ended}"
    )


def _plain(what: str, cpu: int, batch: int | None, because: str) -> Line:
    return Line(what, "", "", cpu, batch, "", because)


def _total(job: Job) -> str:
    because = f"what {job.batch} says of the job as a whole"
    return f"{because}: its schedd's word, {OWNERS_FIGURES}" if is_its_owners_word(job) else because


def _exits(job: Job, counted: int, exact: int, *, held: bool) -> Line:
    """Say how what exit statistics counted differs, which is what the job used, but for processes that they do not know."""
    because = "what exit statistics counted of the processes that are known to be its own"
    if exact < counted:
        because += f"; {job.batch} says {cpu_text(counted - exact)} more"
        because += f", {OWNERS_FIGURES}" if is_its_owners_word(job) else ""
    elif exact > counted:
        because += f"; {job.batch} says {cpu_text(exact - counted)} less{', and this counts' if held else ''}"
    return _plain("exits", exact, None, because)


def _steps(steps: list[Step]) -> str:
    if not steps:
        return "the batch system says nothing of steps: the total counts"
    each = [f"{step.step} {cpu_text(step.total_cpu)}" for step in sorted(steps)[:SHOWN_STEPS]]
    more = f" and {len(steps) - SHOWN_STEPS} more" if len(steps) > SHOWN_STEPS else ""
    return f"the sum of its steps: {', '.join(each)}{more}"


def _payload(payload: Payload, part: Part | None, job: Job, zone: tzinfo) -> Line:
    begin = format_instant(payload.start, zone)
    said = [f"{payload.payload} on {payload.node}", f"started {begin}"]
    if payload.end is not None:
        said.append(f"ended {format_instant(payload.end, zone)}")
    said.append(_how_measured(payload))
    if payload.ran_over(job):
        said.append("it ran beyond the job's end")
    said.append(part.because if part else "whose it was is not known")
    if payload.also_subject:
        said.append(f"a credential of {payload.also_subject} was shown with theirs")
    who = _who(part) if part else ("", payload.account)
    return Line("payload", *who, payload.cpu, None, part.evidence if part else "", "; ".join(said))


def _how_measured(payload: Payload) -> str:
    unended = "no record of its end, so " if payload.end is None else ""
    if payload.measured == BY_EXITS:
        return f"{unended}only what exit statistics counted of its processes is known"
    if payload.cpu is None:
        return f"{unended}what it used is not known{'' if unended else ', since its launcher was killed'}"
    if not payload.whole:
        return "only what still ran when it was cleared up could be counted"
    return f"measured by {payload.measured}"


def _rest(counted: int, used: int) -> Line:
    because = "what the steps have beyond the payloads"
    if used > counted:
        because = f"the payloads used {cpu_text(used - counted)} more than the batch system counted in all"
    return _plain("rest", max(counted - used, 0), None, because)


def _sums(attribution: Attribution) -> list[Line]:
    given = sum(part.cpu for part in attribution.parts)
    given_by_batch = sum(part.batch for part in attribution.parts)
    return [
        _plain("unattributed", attribution.unattributed, attribution.batch_unattributed, attribution.because),
        _plain(
            "batch_discrepancy",
            attribution.batch_discrepancy,
            attribution.steps_discrepancy,
            "the total, less all parts and unattributed",
        ),
        _plain(
            "sum",
            given + attribution.unattributed + attribution.batch_discrepancy,
            given_by_batch + attribution.batch_unattributed + attribution.steps_discrepancy,
            "payloads, holder, unattributed and batch_discrepancy, which is the total",
        ),
    ]


def _who(part: Part) -> tuple[str, str]:
    return part.subject, part.account
