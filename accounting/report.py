"""CPU time by person, group, place and month: read the jobs of a time, attribute each, add up."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, func, select

from gridwarden.accounting import evidence, schema
from gridwarden.accounting.attributed import Attributed, Division, ended_within
from gridwarden.accounting.holder_of_job import fqan_of
from gridwarden.times import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from gridwarden.accounting.attribute import Attribution
    from gridwarden.accounting.lease_history import Sighting
    from gridwarden.accounting.payload_runs import Payload
    from gridwarden.accounting.store import Store
    from gridwarden.times import Range

PART, OUTSIDE = "part", "outside"
UNATTRIBUTED, DISCREPANCY, TOTAL = "unattributed", "batch_discrepancy", "total"
BY = ("identity", "vo", "account")
OF_JOBS = ("node", "queue", "month")
ALSO_BY = ("fqan", *OF_JOBS)


class Row(NamedTuple):
    """One row of a report; ``cpu`` and ``batch`` in microseconds, by the two measures of ``attribute``.

    ``row`` tells parts, whose names (``BY`` and ``ALSO_BY``) are filled as far as they are asked for, from the sums that
    make the report add up, of which ``unattributed`` is one for each node, queue, month, and account without identity, where
    these are asked for, and from what payloads ``outside`` of all jobs used, which is in no sum.  ``evidence`` is the weakest level among what was added.  ``wall_cores`` is the wall time of jobs times their cores, in microseconds: as by
    ``batch``, all of a job's is its holder's.
    """

    row: str
    identity: str
    vo: str
    account: str
    jobs: int
    cpu: int
    evidence: str
    payloads: int = 0
    batch: int = 0
    fqan: str = ""
    node: str = ""
    queue: str = ""
    month: str = ""
    wall_cores: int = 0


class Report(NamedTuple):
    """The rows, how many jobs had not ended, and why jobs stayed unattributed, with the number of each.

    ``outside`` says why payloads are of no job, with the number of each.
    """

    rows: list[Row]
    unfinished: int
    reasons: dict[str, int]
    outside: dict[str, int] = {}  # noqa: RUF012  never changed


def report(store: Store, within: Range, by: tuple[str, ...], zone: tzinfo = UTC) -> Report:
    """Add up the CPU time of the jobs that ended within a range, as the store has them; months are those of ``zone``.

    Months come in their order where ``by`` begins with them, else the largest first.

    Raises Unavailable.  By either measure the parts, ``unattributed`` and ``batch_discrepancy`` add up to ``total``,
    which is the sum of what the batch system says of each job.
    """
    with store.transaction() as connection:
        division = ended_within(connection, within)
        unfinished = _count_unfinished(connection, within)
    attributions = [each.attribution for each in division.jobs]
    parts = _grouped(PART, (_parts(each, zone) for each in division.jobs), by)
    outside = _grouped(OUTSIDE, ([_outside(payload, owner, zone)] for payload, _, owner in division.outside), by)
    places = tuple(name for name in by if name in OF_JOBS or (name == "account" and "identity" not in by))
    nobodys = _grouped(UNATTRIBUTED, (_nobodys(each, zone) for each in division.jobs), places)
    sums = [*(nobodys or [Row(UNATTRIBUTED, "", "", "", 0, 0, "")]), *_sums(attributions, division)]
    rows = [*parts, *(row._replace(jobs=0) for row in outside), *sums]
    return Report(rows, unfinished, _reasons(attributions), _count(because for _, because, _ in division.outside))


def _parts(each: Attributed, zone: tzinfo) -> list[tuple[str, Row]]:
    """Return a row for each part of a job, with its scheme.

    What is left of a job on several nodes is of all of them, as the batch system writes them.
    """
    job, month = each.job, _month(each.job.end, zone)
    nodes = {payload.payload: payload.node for payload in each.payloads}
    return [
        (
            part.scheme,
            Row(
                PART, part.subject, part.vo, part.account, 1, part.cpu, part.evidence, bool(part.payload), part.batch,
                fqan_of(part, job), nodes.get(part.payload, job.nodes), job.queue, month,
                0 if part.payload else job.wall_cores,
            ),
        )
        for part in each.attribution.parts
    ]  # fmt: skip


def _grouped(kind: str, jobs: Iterable[Iterable[tuple[str, Row]]], by: tuple[str, ...]) -> list[Row]:
    groups: dict[tuple[str, ...], Row] = {}
    for parts in jobs:
        seen: set[tuple[str, ...]] = set()
        for scheme, part in parts:
            # An identity is its scheme and its subject: the same text may be two people's in two schemes.
            key = (scheme if "identity" in by else "", *(getattr(part, name) for name in by))
            old = groups.get(key) or Row(kind, "", "", "", 0, 0, "")._replace(**dict(zip(by, key[1:], strict=True)))
            groups[key] = old._replace(
                jobs=old.jobs + (key not in seen),
                cpu=old.cpu + part.cpu,
                evidence=evidence.weakest({part.evidence, old.evidence} - {""}),
                payloads=old.payloads + part.payloads,
                batch=old.batch + part.batch,
                wall_cores=old.wall_cores + part.wall_cores,
            )
            seen.add(key)
    by_month = by[:1] == ("month",)
    return sorted(groups.values(), key=lambda row: (row.month if by_month else "", -row.cpu, row))


def _outside(payload: Payload, lent: Sighting | None, zone: tzinfo) -> tuple[str, Row]:
    """A payload of no job: its owner's where that is known, and else nobody's."""
    owner: Payload | Sighting | None = payload if payload.subject else lent
    names = ("", "", "") if owner is None else (owner.scheme, owner.subject, owner.vo)
    level = evidence.KERNEL_MEASURED if payload.whole else evidence.BATCH
    if not payload.subject:
        level = evidence.LEASE_HISTORY if owner else evidence.AMBIGUOUS
    month = _month(payload.start if payload.end is None else payload.end, zone)
    row = Row(OUTSIDE, *names[1:], payload.account, 1, payload.cpu or 0, level, 1, node=payload.node, month=month)
    return names[0], row


def _month(instant: int | None, zone: tzinfo) -> str:
    return "" if instant is None else format_instant(instant, zone)[: len("2026-11")]


def _nobodys(each: Attributed, zone: tzinfo) -> list[tuple[str, Row]]:
    """Return a row for what of a job is nobody's who could be named, if anything is."""
    found = each.attribution
    named = sum(bool(part.payload) for part in found.parts)
    held = len(found.parts) > named
    if held and not found.unattributed and named == len(each.payloads):
        return []
    row = Row(UNATTRIBUTED, "", "", "", 1, found.unattributed, "", len(each.payloads) - named, found.batch_unattributed)
    job = each.job
    placed = row._replace(account=job.account, node=job.nodes, queue=job.queue, month=_month(job.end, zone))
    return [("", placed._replace(wall_cores=0 if held else job.wall_cores))]


def _sums(attributions: list[Attribution], division: Division) -> list[Row]:
    total = sum(each.total for each in attributions)
    differing = sum(1 for each in attributions if each.batch_discrepancy)
    payloads = sum(len(each.payloads) for each in division.jobs)
    wall_cores = sum(each.job.wall_cores for each in division.jobs)
    return [
        Row(
            DISCREPANCY, "", "", "", differing, sum(each.batch_discrepancy for each in attributions), "",
            0, sum(each.steps_discrepancy for each in attributions),
        ),
        Row(TOTAL, "", "", "", len(attributions), total, "", payloads, total, wall_cores=wall_cores),
    ]  # fmt: skip


def _reasons(attributions: Iterable[Attribution]) -> dict[str, int]:
    nobodys = (each for each in attributions if each.unattributed or all(part.payload for part in each.parts))
    return _count(each.because for each in nobodys if each.because)


def _count(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))


def _count_unfinished(connection: Connection, within: Range) -> int:
    jobs = schema.batch_jobs.c
    query = select(func.count()).where(jobs.end.is_(None), jobs.start.is_not(None), jobs.start < within.end)
    return connection.scalar(query) or 0
