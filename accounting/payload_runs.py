"""Payloads out of a ledger's records, and the batch job that each ran in.  Pure; integer microseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting.job_names import of_node
from gridwarden.accounting.job_runs import Body, number, text
from gridwarden.accounting.pseudonyms import PREFIX
from gridwarden.accounting.same_job import CLOCK_SKEW
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gridwarden.accounting.batch_records import Job

LEFT_OVER = "processes"  # as `measured`: only what still ran when somebody else than the launcher saw to it was counted
BY_EXITS = (
    "exits"  # as `measured`: only what exit statistics counted of its processes is known, not whether these are all
)
NO_JOB = "their records name no batch job"
NOT_HERE = "the store has no such batch job"
ANOTHERS = "the batch job that they name was not their pilot's, at that time and by that ledger"

LATEST = 253_402_300_799 * MICROSECONDS  # the last second that a date can be of; root of a node can write any number

JobName = tuple[str, str, str]
JobKey = tuple[str, str, str, int, int]
Line = tuple[str, int, Body]


class Payload(NamedTuple):
    """One payload: ``ledger`` and ``seq`` name the record of its start, or that of its end where that is all there is.

    ``batch``, ``cluster``, ``job`` and ``restart`` are its pilot's job; ``pilot`` is that job's account, "" where it is
    not known, and ``pilot_scheme``, ``pilot_subject`` and ``pilot_vo`` whom the pilot's own credential named.  ``end`` is None without
    a record of it.  ``cpu`` is None where nobody knows it; ``measured`` is how it was found out.  ``also_subject`` is whom
    the other of two credentials named, "" where one was shown.
    """

    ledger: str
    seq: int
    payload: str
    node: str
    cluster: str
    batch: str
    job: str
    restart: int
    pilot: str
    pilot_scheme: str
    pilot_subject: str
    pilot_vo: str
    account: str
    lease: str
    scheme: str
    subject: str
    vo: str
    start: int
    end: int | None
    cpu: int | None
    measured: str
    also_subject: str = ""

    def ran_over(self, job: Job) -> bool:
        """Whether it ended after its pilot's job, by more than clocks may differ: it then used what nobody counted there."""
        return self.end is not None and job.end is not None and self.end > job.end + CLOCK_SKEW

    @property
    def whole(self) -> bool:
        """Whether all of its CPU time is known."""
        return self.cpu is not None and self.measured not in (LEFT_OVER, BY_EXITS)

    def with_exits(self, cpu: int) -> Payload:
        """Return it with what exit statistics counted of its processes, where that is more than was known without them."""
        return self if self.whole or cpu <= (self.cpu or 0) else self._replace(cpu=cpu, measured=BY_EXITS)


class Placed(NamedTuple):
    """The payloads of each batch job, in the order of their starts, and those of none that is known, with the reason."""

    of_job: dict[JobKey, list[Payload]]
    outside: list[tuple[Payload, str]]


def read_payloads(starts: Iterable[Line], ends: Iterable[Line]) -> list[Payload]:
    """Return payloads, each once, from their ``payload_start`` and ``payload_end`` records in any order.

    Of two records of one end (its recorder was killed in between) the first counts.
    """
    ended = _first_of_each(ends)
    begun = _first_of_each(starts)
    first = ended | begun
    return sorted((_payload(line, ended.get(key)) for key, line in first.items()), key=_order)


def place(
    payloads: Iterable[Payload], jobs: Iterable[Job], ledgers: Mapping[JobName, frozenset[str]] | None = None
) -> Placed:
    """Give each payload to one run of a batch job at most; ``jobs`` must hold all runs of every job that they name.

    A run is meant when batch system, server, number and the pilot's account agree and the payload started while it ran; a
    different restart count is borne only then, and clocks that differ only where it agrees.  Of several the nearest in
    time counts.  ``ledgers`` are those in which hooks recorded starts of a job: where there are some, other ledgers are
    of nodes on which it did not run, and are not believed.
    """
    runs: dict[JobName, list[Job]] = {}
    for job in jobs:
        runs.setdefault(job[:3], []).append(job)
    placed = Placed({}, [])
    for payload in sorted(payloads, key=_order):
        name = (payload.batch, payload.cluster, payload.job)
        named = runs.get(name, [])
        known = ledgers.get(name) if ledgers else None
        fitting = [job for job in named if _fits(payload, job)] if known is None or payload.ledger in known else []
        if fitting:
            job = min(fitting, key=lambda job: (job.restart != payload.restart, _distance(payload, job), job[:5]))
            placed.of_job.setdefault(job[:5], []).append(payload)
        else:
            placed.outside.append((payload, ANOTHERS if named else NOT_HERE if payload.job else NO_JOB))
    return placed


def most_at_once(payloads: Iterable[Payload], until: int) -> int:
    """Return how many ran at the same time; those without an end are taken to have run ``until`` then."""
    changes: list[tuple[int, int]] = []
    for payload in payloads:
        end = until if payload.end is None else payload.end
        changes += [(payload.start, 1), (max(end, payload.start + 1), -1)]
    running = most = 0
    for _, change in sorted(changes):  # at the same time, ends come first
        running += change
        most = max(most, running)
    return most


def _fits(payload: Payload, job: Job) -> bool:
    if payload.pilot and payload.pilot != job.account:
        return False
    return _distance(payload, job) <= (CLOCK_SKEW if payload.restart == job.restart else 0)


def _distance(payload: Payload, job: Job) -> int:
    """How long before the run, or after it, the payload started; 0 within."""
    begin = job.submit if job.start is None else job.start
    return max(begin - payload.start, 0 if job.end is None else payload.start - job.end, 0)


def _order(payload: Payload) -> tuple[int, str, int]:
    return payload.start, payload.ledger, payload.seq


def _first_of_each(lines: Iterable[Line]) -> dict[tuple[str, str], Line]:
    found: dict[tuple[str, str], Line] = {}
    for line in sorted(lines, key=lambda line: line[:2]):
        found.setdefault((line[0], _name(line)), line)
    return found


def _name(line: Line) -> str:
    """The payload's id; a record without one, which no launcher wrote, is still of something that is not the job itself."""
    return text(line[2], "payload") or f"line {line[1]}"


def _payload(first: Line, ended: Line | None) -> Payload:
    ledger, seq, body = first
    end = ended[2] if ended else {}
    start = _time(body)
    batch, cluster, job = of_node(text(body, "batch"), text(body, "cluster"), text(body, "job"))
    return Payload(
        ledger=ledger,
        seq=seq,
        payload=_name(first),
        node=text(body, "node"),
        cluster=cluster,
        batch=batch,
        job=job,
        restart=number(body, "restart"),
        pilot=text(body, "pilot"),
        pilot_scheme=_pilot_scheme(body),
        pilot_subject=text(body, "pilot_subject"),
        pilot_vo=text(body, "pilot_vo"),
        account=text(body, "account"),
        lease=text(body, "lease"),
        scheme=text(body, "scheme"),
        subject=text(body, "subject"),
        vo=text(body, "vo"),
        start=start,
        end=max(_time(end), start) if ended else None,
        cpu=_cpu(end),
        measured=text(end, "measured"),
        also_subject=text(body, "also_subject"),
    )


def _time(body: Body) -> int:
    return min(max(number(body, "time"), 0), LATEST)


def _cpu(end: Body) -> int | None:
    """Return the larger of what wait(2) and what the control group say.

    A process that ignores SIGCHLD hides its children's time from the one; neither counts what was not used.
    """
    user, system, group = (_figure(end, name) for name in ("user", "system", "group_cpu"))
    waited = None if user is None else user + (system or 0)  # of what was left over only one sum is known
    return max((figure for figure in (waited, group) if figure is not None), default=None)


def _figure(body: Body, field: str) -> int | None:
    value = body.get(field)
    return value if type(value) is int and 0 <= value < 1 << 62 else None


def _pilot_scheme(body: Body) -> str:
    """Return the scheme of the pilot's own subject, which records of before do not say: its owner's need not be the same."""
    if "pilot_scheme" in body:
        return text(body, "pilot_scheme")
    subject = text(body, "pilot_subject")
    if subject.startswith(PREFIX):
        return text(body, "scheme")  # by which the pseudonym was made
    return "" if not subject else "x509" if subject.startswith("/") else "token"
