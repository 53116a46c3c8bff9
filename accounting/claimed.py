"""Answer by what logs of other programs claim, of the time before gridwarden's own records: never better than ``declared``."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

from gridwarden.accounting import answers, claims, evidence
from gridwarden.accounting.claims import Claim
from gridwarden.times import MICROSECONDS, format_instant

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.batch_records import Job
    from gridwarden.accounting.past import Past
    from gridwarden.accounting.question import Question

Item = TypeVar("Item")

DAY = 86_400 * MICROSECONDS
# A pool account is not lent anew within so short a time, unless a site has far too few; one that two people were mapped to
# is shared by them, or its log lies.
SHARED_WITHIN = 7 * DAY
LONGEST_PAYLOAD = 30 * DAY
# BLAH logs a submission when the batch system has answered, HTCondor-CE's script the end of a job when it runs.
EARLIER, LATER = MICROSECONDS * 3600, DAY
# Whoever can write to syslog can write ten thousand of these: what else is known must not drown in them.
MOST, MOST_PEOPLE = 200, 20
NARROWER = "ask for an account, a node, a person or a shorter time"

_COLUMNS = ", ".join(Claim._fields)
_CLAIMS = f"SELECT {_COLUMNS} FROM claims WHERE"  # noqa: S608  our own names
_OF_JOB = f"{_CLAIMS} what = 'job' AND job = :job ORDER BY time, digest"
_LAST_MAPPING = (
    f"{_CLAIMS} what = 'mapping' AND account = :account AND time < :until ORDER BY time DESC, digest DESC LIMIT 1"
)
_EACH_MAPPED = (
    "SELECT scheme, subject, min(time) FROM claims WHERE what = 'mapping' AND account = :account "
    "AND time >= :since AND time < :until GROUP BY scheme, subject ORDER BY max(time) DESC, 1, 2"
)
_THE_MAPPING = (
    f"{_CLAIMS} what = 'mapping' AND account = :account AND time = :time AND scheme = :scheme AND subject = :subject "
    "ORDER BY digest"
)
_MAPPINGS = "SELECT node, account, scheme, subject, min(time) FROM claims WHERE what = 'mapping' AND time >= :since AND time < :until"
_OF_MAPPINGS = " GROUP BY node, account, scheme, subject ORDER BY 5, 1, 2, 3, 4"
_OF_SESSION = (
    # An index of sessions alone serves who says so in these very words.
    "FROM claims other WHERE other.session <> '' AND other.session = claims.session AND other.node = claims.node "
    "AND other.time >= claims.time"
)
_PAYLOADS = (
    f"SELECT {_COLUMNS}, (SELECT min(time) {_OF_SESSION} AND what = 'end'), "  # noqa: S608  our own names
    f"(SELECT min(time) {_OF_SESSION} AND what = 'name') FROM claims "
    "WHERE what = 'start' AND time < :until AND time >= :since"
)
_NAMED = (
    f"{_CLAIMS} what = 'name' AND session <> '' AND session = :session AND node = :node AND time = :named "
    "ORDER BY digest"
)


def of_job(job: Job, answer: Answer, past: Past) -> list[Answer]:
    """Answer for a job that no hook recorded: by a computing element's word of whose it was; nothing where there is none."""
    stored = [Claim(*row) for row in past.rows(_OF_JOB, {"job": job.job})]
    found = [claim for claim in stored if _is_of(claim, job)]
    return _declared(answer, found, "no hook recorded the job's start; of this job", past)


def instead_of(answer: Answer, past: Past) -> list[Answer]:
    """Answer by its account's mapping where nobody can be named by what gridwarden recorded; else the answer itself."""
    if answer.evidence != evidence.AMBIGUOUS or answer.identity or not answer.account or answer.since is None:
        return [answer]
    found = _mapped(answer.account, answer.since, answer.since + 1, past)
    return _declared(answer, found, f"{answer.because}; of its account", past) or [answer]


def of_account(account: str, since: int, until: int, past: Past) -> list[Answer]:
    """Answer for an account that no record of ours names then."""
    found = _mapped(account, since, until, past)
    nobody = answers.NOTHING._replace(account=account)
    named = _declared(nobody, found, "no record of gridwarden's names it then", past)
    return [each._replace(since=claim.time) for claim, each in zip(found, named, strict=False)]


def payloads(question: Question, past: Past) -> list[Answer]:
    """Answer for what gLExec's monitor logged: payloads of the question's time, or pid."""
    if question.job is not None:
        return []  # the monitor knows of none
    since, until = question.within or (0, past.FOREVER)
    found: list[Answer] = []
    about = {"since": since - LONGEST_PAYLOAD, "until": until}
    exactly = {name: value for name in ("account", "node", "pid") if (value := question.exact(name)) is not None}
    query = _PAYLOADS + "".join(f" AND {name} = :{name}" for name in exactly)
    for *row, end, named in past.rows(f"{query} ORDER BY time, digest", {**about, **exactly}):
        start = Claim(*row)
        if end is not None and end < since:
            continue
        answer = answers.NOTHING._replace(
            account=start.account, node=start.node, pid=start.pid, since=start.time, until=end
        )
        names = []
        if named is not None and (end is None or named <= end):
            names = [Claim(*name) for name in past.rows(_NAMED, {**start._asdict(), "named": named})]
        because = "of a payload that gLExec started" + ("" if end is not None else ", whose end it did not log")
        of_start = _declared(answer, names, because, past) or [
            answer._replace(evidence=evidence.AMBIGUOUS, because=f"{_says(start, because)}, and not whose it was")
        ]
        found += [
            each
            for each in of_start
            if question.lets_pass(nodes=[each.node], account=each.account, subject=each.identity, job="")
        ]
    return _the_first(found, f"payloads of gLExec's: {NARROWER}", past)


def mappings(question: Question, known: Collection[str], past: Past) -> list[Answer]:
    """Answer for the mappings that were logged within the question's time, each person and account of a node once.

    Accounts that are ``known`` to have had jobs then are left out.
    """
    if question.within is None or question.job is not None:
        return []
    exactly = {name: value for name in ("account", "node") if (value := question.exact(name)) is not None}
    query = _MAPPINGS + "".join(f" AND {name} = :{name}" for name in exactly) + _OF_MAPPINGS
    about = {"since": question.within.start, "until": question.within.end, **exactly}
    logged = [
        row
        for row in past.rows(query, about)
        if row[1] not in known and question.lets_pass(nodes=[row[0]], account=row[1], subject=row[3], job="")
    ]
    found: list[Answer] = []
    for node, account, scheme, subject, time in _the_first(logged, f"mappings: {NARROWER}", past):
        key = {"account": account, "scheme": scheme, "subject": subject, "time": time}
        claim = next(each for row in past.rows(_THE_MAPPING, key) if (each := Claim(*row)).node == node)
        answer = answers.NOTHING._replace(account=account, node=node, pid=claim.pid, since=time, until=time)
        found.append(_named(answer, claim, evidence.DECLARED, "of this account"))
    return found


def _mapped(account: str, since: int, until: int, past: Past) -> list[Claim]:
    """Return who was mapped to an account then, or not long before, of many the last; else who was last."""
    about = {"account": account, "since": since - SHARED_WITHIN, "until": until}
    each = past.rows(_EACH_MAPPED, about)
    if each:
        shown = _the_first(each, f"people who were mapped to {account}", past, MOST_PEOPLE)
        keys = [
            {"account": account, "scheme": scheme, "subject": subject, "time": time}
            for scheme, subject, time in sorted(shown, key=lambda row: (row[2], row[:2]))
        ]
        return [Claim(*row) for key in keys for row in past.rows(_THE_MAPPING, key)[:1]]
    return [Claim(*row) for row in past.rows(_LAST_MAPPING, about)]


def _is_of(claim: Claim, job: Job) -> bool:
    """Say whether a claim is of this job and of no other with its number: numbers come again."""
    first, last = job.submit - EARLIER, (job.end or job.submit + LONGEST_PAYLOAD) + LATER
    account = claim.account in {"", job.account} or (claim.account.isdigit() and job.uid in {None, int(claim.account)})
    return claim.batch in {"", job.batch} and account and first <= claim.time <= last


def _declared(answer: Answer, found: Sequence[Claim], because: str, past: Past) -> list[Answer]:
    """Give the answer for each who is claimed, ambiguous where that is more than one."""
    people = {(claim.scheme, claim.subject): claim for claim in reversed(found)}
    level = evidence.DECLARED if len(people) == 1 else evidence.AMBIGUOUS
    shown = _the_first([*reversed(people.values())], f"people behind {answer.job or answer.account}", past, MOST_PEOPLE)
    return [_named(answer, claim, level, because) for claim in shown]


def _the_first(found: list[Item], what: str, past: Past, most: int = MOST) -> list[Item]:
    """Return as many as are shown, and note how many are not."""
    if len(found) > most:
        note = f"not shown, and claimed by logs of other programs alone: {len(found) - most} more {what}"
        past.unread += [note] if note not in past.unread else []
    return found[:most]


def _named(answer: Answer, claim: Claim, level: str, because: str) -> Answer:
    said = _says(claim, because)
    return answer._replace(
        evidence=level, scheme=claim.scheme, identity=claim.subject, vo=claim.vo or answer.vo, because=said
    )


_LOGS = {claims.LCMAPS: "LCMAPS", claims.GLEXEC: "gLExec", claims.BLAH: "BLAH", claims.CE: "HTCondor-CE"}


def _says(claim: Claim, because: str) -> str:
    when = format_instant(claim.time, UTC)
    return f"{because}, a log of {_LOGS.get(claim.log, claim.log)} on {claim.node} says so at {when} ({claim.place})"
