"""CPU time by identity, VO and account: read the jobs of a time, attribute each, add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, func, select

from gridwarden.accounting import evidence, schema
from gridwarden.accounting.attribute import Part
from gridwarden.accounting.attributed import Division, ended_within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.accounting.attribute import Attribution
    from gridwarden.accounting.lease_history import Sighting
    from gridwarden.accounting.payload_runs import Payload
    from gridwarden.accounting.store import Store
    from gridwarden.times import Range

PART, OUTSIDE = "part", "outside"
UNATTRIBUTED, DISCREPANCY, TOTAL = "unattributed", "batch_discrepancy", "total"
BY = ("identity", "vo", "account")


class Row(NamedTuple):
    """One row of a report; ``cpu`` and ``batch`` in microseconds, by the two measures of ``attribute``.

    ``row`` tells parts, whose three names are filled as far as they are asked for, from the three sums that
    make the report add up, and from what payloads ``outside`` of all jobs used, which is in no sum.  ``evidence`` is the
    weakest level among what was added.
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


class Report(NamedTuple):
    """The rows, how many jobs had not ended, and why jobs stayed unattributed, with the number of each.

    ``outside`` says why payloads are of no job, with the number of each.
    """

    rows: list[Row]
    unfinished: int
    reasons: dict[str, int]
    outside: dict[str, int] = {}  # noqa: RUF012  never changed


def report(store: Store, within: Range, by: tuple[str, ...]) -> Report:
    """Add up the CPU time of the jobs that ended within a range, as the store has them.

    Raises Unavailable.  By either measure the parts, ``unattributed`` and ``batch_discrepancy`` add up to ``total``,
    which is the sum of what the batch system says of each job.
    """
    with store.transaction() as connection:
        division = ended_within(connection, within)
        unfinished = _count_unfinished(connection, within)
    attributions = [each.attribution for each in division.jobs]
    parts = _grouped(PART, (each.parts for each in attributions), by)
    outside = _grouped(OUTSIDE, ([_outside(payload, owner)] for payload, _, owner in division.outside), by)
    rows = [*parts, *(row._replace(jobs=0) for row in outside), *_sums(attributions, division)]
    return Report(rows, unfinished, _reasons(attributions), _count(because for _, because, _ in division.outside))


def _grouped(kind: str, jobs: Iterable[Iterable[Part]], by: tuple[str, ...]) -> list[Row]:
    groups: dict[tuple[str, ...], Row] = {}
    for parts in jobs:
        seen: set[tuple[str, ...]] = set()
        for part in parts:
            names = {"identity": part.subject, "vo": part.vo, "account": part.account}
            # An identity is its scheme and its subject: the same text may be two people's in two schemes.
            key = (part.scheme if "identity" in by else "", *(names[name] for name in by))
            identity, vo, account = (names[name] if name in by else "" for name in BY)
            old = groups.get(key) or Row(kind, identity, vo, account, 0, 0, "")
            groups[key] = old._replace(
                jobs=old.jobs + (key not in seen),
                cpu=old.cpu + part.cpu,
                evidence=evidence.weakest({part.evidence, old.evidence} - {""}),
                payloads=old.payloads + bool(part.payload),
                batch=old.batch + part.batch,
            )
            seen.add(key)
    return sorted(groups.values(), key=lambda row: (-row.cpu, row))


def _outside(payload: Payload, lent: Sighting | None) -> Part:
    """A payload of no job: its owner's where that is known, and else nobody's."""
    owner: Payload | Sighting | None = payload if payload.subject else lent
    names = ("", "", "") if owner is None else (owner.scheme, owner.subject, owner.vo)
    level = evidence.KERNEL_MEASURED if payload.whole else evidence.BATCH
    if not payload.subject:
        level = evidence.LEASE_HISTORY if owner else evidence.AMBIGUOUS
    return Part(*names, payload.account, payload.cpu or 0, level, payload=payload.payload)


def _sums(attributions: list[Attribution], division: Division) -> list[Row]:
    total = sum(each.total for each in attributions)
    nobodys = sum(1 for each in attributions if each.unattributed or not each.parts)
    differing = sum(1 for each in attributions if each.batch_discrepancy)
    payloads = sum(len(each.payloads) for each in division.jobs)
    named = sum(bool(part.payload) for each in attributions for part in each.parts)
    return [
        Row(
            UNATTRIBUTED, "", "", "", nobodys, sum(each.unattributed for each in attributions), "",
            payloads - named, sum(each.batch_unattributed for each in attributions),
        ),
        Row(
            DISCREPANCY, "", "", "", differing, sum(each.batch_discrepancy for each in attributions), "",
            0, sum(each.steps_discrepancy for each in attributions),
        ),
        Row(TOTAL, "", "", "", len(attributions), total, "", payloads, total),
    ]  # fmt: skip


def _reasons(attributions: Iterable[Attribution]) -> dict[str, int]:
    return _count(each.because for each in attributions if each.unattributed)


def _count(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))


def _count_unfinished(connection: Connection, within: Range) -> int:
    jobs = schema.batch_jobs.c
    query = select(func.count()).where(jobs.end.is_(None), jobs.start.is_not(None), jobs.start < within.end)
    return connection.scalar(query) or 0
