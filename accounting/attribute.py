"""Split the CPU time of batch jobs among the identities that used it.  Pure; integer microseconds.

There are two measures, and neither is ever scaled into the other.  By ``batch``, all that the batch system counted is
the job's holder's.  By ``measured``, what the kernel counted of each payload of a pilot is its owner's, and the rest of
what the batch system counted is the pilot's.  Whatever the inputs, in each of them and exactly,
``sum of the parts + unattributed + batch_discrepancy == total``; the order of the inputs changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import evidence
from gridwarden.accounting.holder_of_job import Part, holder_of

if TYPE_CHECKING:
    from gridwarden.accounting.batch_records import Job, Step
    from gridwarden.accounting.job_runs import Run
    from gridwarden.accounting.lease_history import Sighting
    from gridwarden.accounting.payload_runs import Payload

NO_LEASE = "a payload's start was not recorded, and its lease is not known here"
MORE_BY_KERNEL = "the kernel counted more of its processes than the batch system did"
NOT_ALL_MEASURED = "not all of its payloads' CPU time is known, and what is left may be theirs"


class Attribution(NamedTuple):
    """The division of one job; ``because`` says why something is unattributed, or is empty.

    ``total`` is what the batch system says of the job as a whole.  ``batch_discrepancy`` is that total minus all that was
    given to somebody or to nobody, and so has either sign: what the batch system says of steps may not be what it says
    of the job, and payloads may have used more than it saw.  ``batch_unattributed`` and ``steps_discrepancy`` are the same
    two by the batch system's figures alone.  ``candidates`` are those among whom the holder could not be told, without
    figures, each with when the account changed hands.  ``exact`` is what exit statistics say, where they count.
    """

    parts: tuple[Part, ...]
    unattributed: int
    batch_discrepancy: int
    total: int
    because: str
    batch_unattributed: int
    steps_discrepancy: int
    candidates: tuple[Part, ...] = ()
    exact: int = 0


def attribute(
    job: Job,
    steps: Sequence[Step],
    runs: Sequence[Run],
    leases: Mapping[str, Sighting],
    payloads: Sequence[Payload] = (),
    sightings: Sequence[Sighting] = (),
    exact: int = 0,
) -> Attribution:
    """Divide a job.

    ``runs`` are those of any job with this one's number, ``leases`` the lendings by lease id, ``payloads`` those that
    ran in this job, ``sightings`` what records say of who was lent its account and when.  ``exact`` is what exit statistics
    say that those processes of its account used that are known to be its own: never too much, but not of all, so a
    batch system that counted more is believed.  With payloads it says nothing of whose it was, and does not count.
    """
    counted = sum(step.total_cpu for step in steps) if steps else job.total_cpu
    parts, nobodys = _of_payloads(sorted(payloads, key=lambda each: (each.start, each.ledger, each.seq)), leases)
    reasons = [NO_LEASE] if nobodys else []
    rest = max(counted - sum(part.cpu for part in parts) - nobodys, 0)
    found = holder_of(job, runs, leases, payloads, sightings)
    holder = found.part
    if holder is None:
        reasons.append(found.because)
    elif not all(payload.whole for payload in payloads):
        reasons.append(NOT_ALL_MEASURED)
    his = rest if not reasons or reasons == [NO_LEASE] else 0
    if holder is not None:
        if not payloads and exact > his:
            his = exact
            holder = holder._replace(because=f"{holder.because}; {MORE_BY_KERNEL}")
        parts.append(holder._replace(cpu=his, batch=counted))
    given = sum(part.cpu for part in parts)
    unattributed = nobodys + max(rest - his, 0)
    return Attribution(
        parts=tuple(parts),
        unattributed=unattributed,
        batch_discrepancy=job.total_cpu - given - unattributed,
        total=job.total_cpu,
        because="; ".join(reasons),
        batch_unattributed=0 if holder else counted,
        steps_discrepancy=job.total_cpu - counted,
        candidates=found.candidates,
        exact=0 if payloads else exact,
    )


def _of_payloads(payloads: Sequence[Payload], leases: Mapping[str, Sighting]) -> tuple[list[Part], int]:
    """Return the parts of payloads' owners, and what those used of whom nobody knows who they are."""
    parts: list[Part] = []
    nobodys = 0
    for payload in payloads:
        cpu = payload.cpu or 0
        owner = leases.get(payload.lease) if not payload.subject else payload
        if owner is None or owner.account != payload.account:
            nobodys += cpu
            continue
        because = "the launcher verified the owner's credential"
        lent = leases.get(payload.lease)
        fqan = lent.fqan if lent and lent.account == payload.account else ""
        level = evidence.KERNEL_MEASURED if payload.whole else evidence.BATCH
        if not payload.subject:
            level, because = evidence.LEASE_HISTORY, "whoever was lent the account, since its start was not recorded"
        parts.append(
            Part(
                owner.scheme, owner.subject, owner.vo, payload.account, cpu, level, 0, payload.payload, because, fqan
            )
        )  # fmt: skip
    return parts, nobodys
