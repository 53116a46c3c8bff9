"""The sheet for an incident: who it was, how that is known, with which credential, what they ran, and where else they were.

``whoran`` answers; what this module adds comes from the same store and ledger, and what could not be asked is said there.
"""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

from gridwarden.accounting import evidence, hostlist
from gridwarden.accounting.job_runs import text
from gridwarden.accounting.process_records import BLUR
from gridwarden.accounting.question import Question
from gridwarden.accounting.shown_credentials import shown_credentials
from gridwarden.accounting.whoran import whoran
from gridwarden.output import escape
from gridwarden.payloads import BATCH as PAYLOAD
from gridwarden.times import MICROSECONDS, Range, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.living import Node
    from gridwarden.accounting.past import Past

_COMMANDS = """SELECT command, count(*), sum(coalesce(cpu / 1e6, user_cpu / 1e6 + system_cpu / 1e6)) FROM processes
    WHERE job = :job AND batch = :batch AND job <> '' GROUP BY command ORDER BY 3 DESC, 1"""
# Process accounting knows of no job.
_OF_ACCOUNT = """SELECT command, count(*), sum(user_cpu / 1e6 + system_cpu / 1e6) FROM processes
    WHERE node = :node AND uid = :uid AND exact = 0 AND start >= :since AND "end" >= :since AND "end" <= :until
    GROUP BY command ORDER BY 3 DESC, 1"""
_MACHINES = "SELECT node FROM ledger_nodes WHERE ledger IN (SELECT ledger FROM ledger_nodes WHERE node = :node)"
DAY = 86_400 * MICROSECONDS
MOST_SHOWN = 30
MEANING = {
    evidence.KERNEL_MEASURED: "the kernel's own process tree led to them, and register and holder file agree",
    evidence.BATCH: "the batch system started the job, and a hook or the launcher verified the credential then",
    evidence.LEASE_HISTORY: "only the account is certain; the records say who held it then",
    evidence.DECLARED: "a claim that nobody has verified",
    evidence.AMBIGUOUS: "several are possible, or a gap in the records hides who it was",
}


class Person(NamedTuple):
    """One identity of the answers: what was found of them, and where else they were within a day of it."""

    scheme: str
    subject: str
    found: list[Answer]
    credentials: list[str]
    ran: list[str]
    elsewhere: list[Answer]


class Sheet(NamedTuple):
    """An incident: the people, the answers that name nobody, and notes on what could not be asked."""

    people: list[Person]
    nameless: list[Answer]
    around: Range
    notes: list[str]


def sheet(answers: list[Answer], notes: list[str], node: Node, past: Past, now: int) -> Sheet:
    """Gather what is known of those whom the answers name, from a day before the first to a day after the last."""
    begin = min((answer.since for answer in answers if answer.since is not None), default=now)
    end = max((now if answer.until is None else answer.until for answer in answers), default=now)
    around = Range(max(begin - DAY, 0), min(end + DAY, now + 1))
    named: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        if answer.identity:
            named.setdefault((answer.scheme, answer.identity), []).append(answer)
    # Asked once for all: whoever is looked for, the whole of that time is read.
    others, more = whoran(Question(None, around), node, past) if named else ([], [])
    everywhere: dict[tuple[str, str], list[Answer]] = {}
    for each in others:
        everywhere.setdefault((each.scheme, each.identity), []).append(each)
    people = []
    for (scheme, subject), found in named.items():
        seen = {_what(answer) for answer in found}
        elsewhere = [each for each in everywhere.get((scheme, subject), []) if _what(each) not in seen]
        shown = list(dict.fromkeys(each for answer in found for each in shown_credentials(answer, past)))
        people.append(Person(scheme, subject, found, shown, _ran(found, past), elsewhere))
    said = list(dict.fromkeys([*notes, *more]))
    return Sheet(people, [answer for answer in answers if not answer.identity], around, said)


def _what(answer: Answer) -> tuple[object, ...]:
    """Return what an answer is about: a job on its nodes, whichever of its processes was asked for, else a process."""
    return (answer.account, answer.node, answer.cluster, answer.batch, answer.job, None if answer.job else answer.pid)


def lines(found: Sheet, asked: str, now: int, zone: tzinfo) -> list[str]:
    """Write the sheet for a person who reads it during an incident."""
    begin, end = (_to_the_second(moment, zone) for moment in found.around)
    shown = [f"INCIDENT SHEET   {escape(asked)}", f"made {_to_the_second(now, zone)}", ""]
    for number, person in enumerate(found.people, 1):
        shown += [f"{number}. {escape(person.subject)}   ({person.scheme})"]
        shown += [f"   issuer      {escape(_issuer(person))}"]
        shown += [f"   credential  {escape(each)}" for each in person.credentials or ["not recorded"]]
        for answer in person.found:
            shown += _answer(answer, zone)
        shown += [
            f"   what ran    {escape(each)}" for each in person.ran[:MOST_SHOWN] or ["no record of single processes"]
        ]
        shown += [f"   elsewhere from {begin} to {end}: {len(person.elsewhere) or 'nowhere that is known'}"]
        shown += [f"     {_place(answer, zone)}   [{answer.evidence}]" for answer in person.elsewhere[:MOST_SHOWN]]
        if len(person.elsewhere) > MOST_SHOWN:
            shown += [f"     and {len(person.elsewhere) - MOST_SHOWN} more: whoran --identity, in this time"]
        shown += [""]
    for answer in found.nameless:
        shown += ["?. nobody can be named", *_answer(answer, zone), ""]
    levels = {answer.evidence for person in found.people for answer in (*person.found, *person.elsewhere)}
    levels |= {answer.evidence for answer in found.nameless}
    shown += [f"evidence {level}: {MEANING[level]}" for level in evidence.LEVELS if level in levels]
    return [*shown, *(f"not asked, or to be known: {escape(note)}" for note in found.notes)]


def _answer(answer: Answer, zone: tzinfo) -> list[str]:
    vo = f", VO {escape(answer.vo)}" if answer.vo else ""
    return [
        f"   found       {_place(answer, zone)}{vo}",
        f"   evidence    {answer.evidence}: {escape(answer.because)}",
    ]


def _place(answer: Answer, zone: tzinfo) -> str:
    """Say where, as what, and from when to when."""
    words = [f"account {escape(answer.account)}"] if answer.account else []
    words += [f"{escape(answer.batch)} job {escape(answer.job)}"] if answer.job else []
    words += [f"pid {answer.pid}"] if answer.pid is not None else []
    words += [f"on {escape(answer.node)}"] if answer.node else []
    since, until = (None if each is None else _to_the_second(each, zone) for each in (answer.since, answer.until))
    return f"{', '.join(words)}, from {since or 'a time not recorded'} to {until or 'now'}"


def _to_the_second(instant: int, zone: tzinfo) -> str:
    return format_instant(instant // MICROSECONDS * MICROSECONDS, zone)


def _issuer(person: Person) -> str:
    """Return who vouched for them: a token's issuer, or the authority that the reference to a certificate names."""
    if person.scheme == "x509":
        authorities = [each.partition("/")[2] for each in person.credentials if "/" in each]
        return f"/{authorities[-1]}" if authorities else "not recorded"
    return person.subject.rpartition(",")[0] or "none: a local account"


def _ran(found: Iterable[Answer], past: Past) -> list[str]:
    """Return commands, with how many processes each was and what they used, by the kernel's records of their ends."""
    ran: list[str] = []
    for answer in found:
        if answer.batch == PAYLOAD:
            start = past.start_of_payload(answer.job)
            ran += [f"payload {text(start, 'name')}: {text(start, 'program')}"] if start else []
        counted = past.rows(_COMMANDS, {"batch": answer.batch, "job": answer.job}) if answer.job else []
        ran += [f"{command}: {count} processes, {cpu:.3f} s" for command, count, cpu in counted]
        if answer.job and not counted:
            of_account = _of_account(answer, past)
            ran += [
                f"{command}: {count} processes of the account then, {cpu:.3f} s" for command, count, cpu in of_account
            ]
    return list(dict.fromkeys(ran))


def _of_account(answer: Answer, past: Past) -> list[tuple[Any, ...]]:
    """Return what process accounting has of the account's processes there while the answer lasted."""
    try:
        uid = pwd.getpwnam(answer.account).pw_uid
    except KeyError:
        return []
    until = past.FOREVER if answer.until is None else answer.until + BLUR
    asked = {"uid": uid, "since": (answer.since or 0) - BLUR, "until": until}
    machines: dict[str, None] = {}
    for name in hostlist.expand(answer.node)[:MOST_SHOWN]:
        known = past.rows(_MACHINES, {"node": name.partition(".")[0]})
        machines.update(dict.fromkeys([name.partition(".")[0], *(str(machine) for (machine,) in known)]))
    return [row for machine in machines for row in past.rows(_OF_ACCOUNT, {"node": machine, **asked})]
