"""What payload records say of pilots: how much of their CPU time they cover, and what does not look right.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting.payload_runs import most_at_once
from gridwarden.pools import is_of_pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.accounting.attributed import Attributed
    from gridwarden.accounting.batch_records import Job
    from gridwarden.pilot_settings import Caller


class Pilot(NamedTuple):
    """A batch job of a pilot.

    ``cpu`` is the batch system's total and ``payload_cpu`` what its payloads used, in microseconds; ``covered`` is the
    one in percent of the other, None where the batch system counted nothing.  ``at_once`` is the most payloads that ran
    at the same time, ``slots`` the job's cores where the batch system says them.  ``without_end``, ``not_measured`` and
    ``ran_over`` count payloads without a record of their end, without figures or with some of them only, and those that
    ended after the job.
    """

    batch: str
    cluster: str
    job: str
    restart: int
    identity: str
    account: str
    nodes: str
    payloads: int
    cpu: int
    payload_cpu: int
    covered: float | None
    at_once: int
    slots: int | None
    without_end: int
    not_measured: int
    ran_over: int
    remarks: str


def pilots(jobs: Iterable[Attributed], callers: Iterable[Caller]) -> list[Pilot]:
    """Return the jobs in which payloads ran, and those of pilots that may start some: most CPU time not covered first."""
    pilots_callers = [caller for caller in callers if not caller.service]
    found = [_pilot(each) for each in jobs if each.payloads or _is_callers(each.job, pilots_callers)]
    return sorted(found, key=lambda pilot: (pilot.payload_cpu - pilot.cpu, pilot[:4]))


def _is_callers(job: Job, callers: Iterable[Caller]) -> bool:
    """Whether the job's account is one of the callers; of its groups only that of the job is known."""
    return any(
        job.account == caller.account
        or (caller.unix_group is not None and job.group_name == caller.unix_group)
        or (caller.pool is not None and is_of_pool(job.account, caller.pool))
        for caller in callers
    )


def _pilot(each: Attributed) -> Pilot:
    job, payloads = each.job, each.payloads
    begin = job.submit if job.start is None else job.start
    used = sum(payload.cpu or 0 for payload in payloads)
    pilot = Pilot(
        batch=job.batch,
        cluster=job.cluster,
        job=job.job,
        restart=job.restart,
        identity=next((part.subject for part in each.attribution.parts if not part.payload), ""),
        account=job.account,
        nodes=job.nodes,
        payloads=len(payloads),
        cpu=job.total_cpu,
        payload_cpu=used,
        covered=used * 1000 // job.total_cpu / 10 if job.total_cpu else None,
        at_once=most_at_once(payloads, begin if job.end is None else job.end),
        slots=job.cores,
        without_end=sum(payload.end is None for payload in payloads),
        not_measured=sum(not payload.whole for payload in payloads),
        ran_over=sum(payload.ran_over(job) for payload in payloads),
        remarks="",
    )
    return pilot._replace(remarks="; ".join(_remarks(pilot)))


def _remarks(pilot: Pilot) -> list[str]:
    said = []
    if not pilot.payloads:
        said.append("no payload of it is on record")
    if pilot.slots and pilot.at_once > pilot.slots:
        said.append(f"{pilot.at_once} payloads at once, cores: {pilot.slots}")
    if pilot.without_end:
        said.append(f"{pilot.without_end} ran without a record of the end")
    if unknown := pilot.not_measured - pilot.without_end:
        said.append(f"{unknown} not wholly measured")
    if pilot.ran_over:
        said.append(f"{pilot.ran_over} ran beyond the job's end")
    if pilot.payload_cpu > pilot.cpu:
        said.append("payloads used more than the batch system counted")
    return said
