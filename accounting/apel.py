"""The messages in which APEL takes a site's jobs: one record a job, or sums of a month.  Pure.

Formats: APEL 2.5.0, apel/db/records/{job,summary}.py (fields, their order and types), apel/db/unloader.py (a header, records
that end with a line ``%%``, a thousand in a message).  Jobs of holders of tokens have a GlobalUserName, ``ISSUER,SUB``, and
their first ``wlcg.groups`` for an FQAN: what sites ask for in apel/apel#272 and htcondor/htcondor-ce#634.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import hostlist
from gridwarden.accounting.holder_of_job import fqan_of
from gridwarden.accounting.lease_history import LOCAL
from gridwarden.accounting.rows import batches
from gridwarden.output import escape
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.holder_of_job import Part
    from gridwarden.accounting_settings import Accounting

HEADERS = {
    "job-v0.4": "APEL-individual-job-message: v0.4",
    "job-v0.3": "APEL-individual-job-message: v0.3",
    "summary-v0.4": "APEL-summary-job-message: v0.4",
    "summary-v0.2": "APEL-summary-job-message: v0.2",
}
IN_ONE_MESSAGE = 1000
WITHHELD = "withheld"
_NONE = "None"  # as APEL itself writes a VO, group or role that is not there

Field = tuple[str, "str | int | float | None"]
_Group = tuple[int, int, str, str, str, str, str, str, "float | None", int, int]


class Usage(NamedTuple):
    """A job as APEL sees it; times in seconds since the epoch, ``wall`` and ``cpu`` in microseconds, ``memory`` in bytes.

    ``fqan`` is empty where the VO does not follow from it; ``value`` is what a core does in the site's benchmark.
    """

    submit_host: str
    machine: str
    queue: str
    job: str
    account: str
    subject: str
    fqan: str
    vo: str
    group: str
    role: str
    wall: int
    cpu: int
    cores: int
    nodes: int
    start: int
    end: int
    memory: int
    infrastructure: str
    value: float | None


def usage(job: Job, holder: Part | None, settings: Accounting, *, withhold: bool = False) -> Usage | None:
    """Return what a job comes to, None for one that never ran or has not ended; without a holder it is a local job."""
    if job.start is None or job.end is None:
        return None
    grid = holder is not None and holder.scheme != LOCAL
    fqan, vo, group, role = (
        attributes(fqan_of(holder, job), holder.vo or job.vo) if holder and grid else ("", "", "", "")
    )
    subject = holder.subject if holder and grid else ""
    return Usage(
        submit_host=job.submit_host or settings.apel.submit_host or "",
        machine=job.cluster,
        queue=job.queue,
        job=job.job,
        account=job.account,
        subject=WITHHELD if subject and withhold else subject,
        fqan=fqan,
        vo=vo or ("" if grid else job.group_name),
        group=group,
        role=role,
        wall=job.wall_time,
        cpu=job.total_cpu,
        cores=job.cores or 1,
        nodes=max(len(hostlist.expand(job.nodes)), 1),
        start=min(job.start, job.end) // MICROSECONDS,
        end=job.end // MICROSECONDS,
        memory=job.memory or 0,
        infrastructure="grid" if grid else "local",
        value=settings.value_of(job.node_class),
    )


def attributes(fqan: str, vo: str) -> tuple[str, str, str, str]:
    """Return FQAN, VO, group and role as APEL reads them out of an FQAN (parse_fqan of apel/common/parsing_utils.py).

    APEL takes the VO from the FQAN where there is one.  A token's group need not begin with its VO's name; then the FQAN
    is left away, and the VO and the group say the same.
    """
    parts = fqan.partition("/Capability=")[0].split("/")
    if len(parts) < 2 or parts[0] or not parts[1]:
        return "", vo, "", ""
    role = next((part for part in parts if part.lower().startswith("role=")), "")
    group = "/".join(parts[: parts.index(role)] if role else parts)
    if vo and parts[1] != vo:
        return "", vo, group, role
    return fqan, parts[1], group, role


def messages(kind: str, used: Iterable[Usage], settings: Accounting, site: str) -> Iterator[str]:
    """Yield messages of a kind of ``HEADERS``; ``site`` is its name in GOCDB."""
    per_job = kind.startswith("job")
    records = (_job(each, settings, site) for each in used) if per_job else _summaries(used, settings, site)
    as_pairs = kind.endswith("v0.4")
    for batch in batches(records, IN_ONE_MESSAGE):
        yield HEADERS[kind] + "\n" + "".join(_text(record, as_pairs=as_pairs) for record in batch)


def _job(used: Usage, settings: Accounting, site: str) -> list[Field]:
    return [
        ("Site", site),
        ("SubmitHost", used.submit_host),
        ("MachineName", used.machine),
        ("Queue", used.queue),
        ("LocalJobId", used.job),
        ("LocalUserId", used.account),
        ("GlobalUserName", used.subject),
        ("FQAN", used.fqan),
        ("VO", used.vo or _NONE),
        ("VOGroup", used.group or _NONE),
        ("VORole", used.role or _NONE),
        ("WallDuration", _seconds(used.wall)),
        ("CpuDuration", _seconds(used.cpu)),
        ("Processors", used.cores),
        ("NodeCount", used.nodes),
        ("StartTime", used.start),
        ("EndTime", used.end),
        ("InfrastructureType", used.infrastructure),
        ("MemoryReal", used.memory >> 10 or None),
        *_service_level(used.value, settings),
    ]


def _summaries(used: Iterable[Usage], settings: Accounting, site: str) -> Iterator[list[Field]]:
    """Add up what APEL groups by (SuperSummaries of its schema): month, person, VO, group, role, host, kind, level, size."""
    sums: dict[_Group, list[int]] = {}
    for each in used:
        ended = datetime.fromtimestamp(each.end, UTC)
        key = (
            ended.year, ended.month, each.subject, each.vo, each.group, each.role, each.submit_host, each.infrastructure,
            each.value, each.nodes, each.cores,
        )  # fmt: skip
        found = sums.setdefault(key, [each.end, each.end, 0, 0, 0])
        found[:] = [
            min(found[0], each.end), max(found[1], each.end), found[2] + each.wall, found[3] + each.cpu, found[4] + 1,
        ]  # fmt: skip
    for key in sorted(sums, key=repr):
        year, month, subject, vo, group, role, submit_host, infrastructure, value, nodes, cores = key
        earliest, latest, wall, cpu, jobs = sums[key]
        yield [
            ("Site", site),
            ("Month", month),
            ("Year", year),
            ("GlobalUserName", subject),
            ("VO", vo or _NONE),
            ("VOGroup", group or _NONE),
            ("VORole", role or _NONE),
            ("SubmitHost", submit_host),
            ("InfrastructureType", infrastructure),
            *_service_level(value, settings),
            ("NodeCount", nodes),
            ("Processors", cores),
            ("EarliestEndTime", earliest),
            ("LatestEndTime", latest),
            ("WallDuration", _seconds(wall)),
            ("CpuDuration", _seconds(cpu)),
            ("NumberOfJobs", jobs),
        ]


def _service_level(value: float | None, settings: Accounting) -> list[Field]:
    return [] if value is None else [("ServiceLevelType", settings.apel.benchmark), ("ServiceLevel", value)]


def _seconds(microseconds: int) -> int:
    return (microseconds + MICROSECONDS // 2) // MICROSECONDS


def _text(record: list[Field], *, as_pairs: bool) -> str:
    """Write a record; v0.4 has the benchmark's name and value in one field."""
    values = dict(record)
    if as_pairs and (benchmark := values.pop("ServiceLevelType", None)):
        values["ServiceLevel"] = f"{{{benchmark}: {values['ServiceLevel']}}}"
    shown = {name: _one_line(str(value)) for name, value in values.items() if value is not None}
    return "".join(f"{name}: {value}\n" for name, value in shown.items() if value) + "%%\n"


def _one_line(value: str) -> str:
    """Return a value that cannot end its line or its record, whoever chose it."""
    return escape(value).replace("%%", "%25%25").strip()
