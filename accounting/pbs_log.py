"""Accounting logs of OpenPBS and Torque.  Pure.

One record a line, ``MM/DD/YYYY HH:MM:SS;TYPE;ID;KEY=VALUE KEY=VALUE…``; the time is local, those within are seconds
since the epoch.  Formats: src/server/accounting.c of OpenPBS 23.06.06, whose log was recorded, and of Torque 6.1,
whose ``account`` is not quoted.  A value with spaces stands in double quotes, or in single ones where it holds a double
one; nothing is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from operator import itemgetter

from gridwarden.accounting.batch_records import PBS, Ignored, Job
from gridwarden.times import MICROSECONDS

ENDED, REQUEUED = "ENDED", "REQUEUED"
_STATES = {"E": ENDED, "R": REQUEUED}
# What else may be written (PBS_ACCT_* in both sources), none of it about CPU time that was used up.
IGNORED = {
    "A": "aborted before it ran",
    "B": "reservation",
    "C": "checkpointed",
    "D": "asked to be deleted",
    "F": "reservation",
    "K": "reservation",
    "L": "licences",
    "M": "moved to another server",
    "P": "provisioning",
    "Q": "queued",
    "S": "started",
    "T": "restarted from a checkpoint",
    "U": "reservation",
    "Y": "reservation",
    "a": "altered",
    "c": "part of a job that gave up nodes",
    "e": "part of a job that gave up nodes",
    "k": "reservation",
    "p": "provisioning",
    "r": "resumed",
    "s": "started",
    "u": "part of a job that gave up nodes",
    "z": "suspended",
}
ARRAY = "array as a whole"
NO_FIGURES = "requeued, without figures"

_QUOTED = re.compile(r"""([^ ="']+)=(?:"([^"]*)"|'([^']*)'|([^ ]*))(?: |$)""", re.ASCII)
_SIZES = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "pb": 1 << 50}
_QUOTED_ALWAYS = ("account", "accounting_id")  # by OpenPBS
_NEEDED = ("user", "ctime", "start", "end")
# A record as OpenPBS writes it.  No value here but that of account holds a blank, a quote, or what could be a key.
_OTHERS = r"""(?:resources_used\.(?!cput=|mem=|ncpus=|walltime=)[^ "'=]+=[^ "']+[ ])*"""
_OPENPBS = re.compile(
    rf"""user=([^ "'=]+)[ ]group=([^ "'=]+)[ ](?:account="([^"'=]*)"[ ])?(?:project=[^ "'=]+[ ])?
    jobname=([^ "'=]+)[ ]queue=([^ "'=]+)[ ]ctime=(\d+)[ ]qtime=\d+[ ]etime=\d+[ ]start=(\d+)[ ]
    exec_host=([^ "'=]+)[ ]exec_vnode=[^ "']+[ ](?:Resource_List\.[^ "'=]+=[^ "']+[ ])*
    session=\d+[ ]end=(\d+)[ ]Exit_status=(-?\d+)[ ]
    {_OTHERS}resources_used\.cput=([\d:]+)[ ]{_OTHERS}resources_used\.mem=(\d+kb)[ ]
    {_OTHERS}resources_used\.ncpus=(\d+)[ ]{_OTHERS}resources_used\.walltime=([\d:]+)[ ]{_OTHERS}
    (?:eligible_time=[\d:]+[ ])?run_count=(\d+)()""",
    re.ASCII | re.VERBOSE,
)
# And one as Torque 6.1 does, whose account stands in no quotes and mostly holds no blank.
_TORQUE = re.compile(
    rf"""user=([^ "'=]+)[ ]group=([^ "'=]+)[ ](?:account=([^ "'=]+)[ ])?
    jobname=([^ "'=]+)[ ]queue=([^ "'=]+)[ ]ctime=(\d+)[ ]qtime=\d+[ ]etime=\d+[ ]start=(\d+)[ ]owner=([^ "'=]+)[ ]
    exec_host=([^ "'=]+)[ ](?:Resource_List\.[^ "'=]+=[^ "']+[ ])*
    session=\d+[ ]total_execution_slots=(\d+)[ ]unique_node_count=\d+[ ]end=(\d+)[ ]Exit_status=(-?\d+)[ ]
    {_OTHERS}resources_used\.cput=([\d:]+)[ ]{_OTHERS}resources_used\.mem=(\d+kb)[ ]
    {_OTHERS}resources_used\.walltime=([\d:]+)[ ]?()""",
    re.ASCII | re.VERBOSE,
)
_TORQUES = itemgetter(0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 9, 14, 15, 7)  # its groups in the order of _OPENPBS's
# Job(...) itself takes its fields by name, which would be a tenth of the time that a record takes.
_JOB: Callable[[tuple[object, ...]], Job] = partial(tuple.__new__, Job)


def parse(line: str) -> Job | Ignored:
    """Read a line without its newline; raises ValueError with the reason for one that cannot be understood."""
    try:
        when, kind, job, message = line.split(";", 3)
    except ValueError:
        raise ValueError("is not TIME;TYPE;ID;FIELDS") from None
    if len(when) != 19 or when[2] != "/":
        raise ValueError(f"does not begin with a time: {when[:40]!r}")
    if kind not in _STATES:
        because = IGNORED.get(kind)
        if because is None:
            raise ValueError(f"no record is known of type {kind[:40]!r}")
        return Ignored(because)
    if "[]" in job:  # its tasks have records of their own, and it has no CPU time
        return Ignored(ARRAY)
    if kind == "R" and not message.strip():  # all that Torque writes of it
        return Ignored(NO_FIGURES)
    return _job(job, kind, message)


def fields_of(message: str) -> dict[str, str]:
    """Return all fields of a record; raises ValueError for what has two readings.

    A key that stands twice is refused: ``account`` and ``project`` are the user's own words, and one that closes the
    quotes could be a second ``end``.
    """
    pairs = message.split(" ")
    fields = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            return _carefully(message)
        fields[key] = value
    if len(fields) != len(pairs):
        return _carefully(message)
    if '"' in message:
        quotes = message.count('"')
        for key in _QUOTED_ALWAYS:
            value = fields.get(key, "")
            if len(value) > 1 and value[0] == value[-1] == '"':
                fields[key] = value[1:-1]
                quotes -= 2
        if quotes:
            return _carefully(message)
    return fields


@lru_cache(maxsize=1 << 16)  # there are not many more times of a day and a half than that
def cpu_time(text: str) -> int:
    """Return ``[[HOURS:]MINUTES:]SECONDS`` in microseconds; raises ValueError."""
    parts = text.split(":")
    if len(text) > 12 or len(parts) > 3 or not all(map(str.isdigit, parts)):
        raise ValueError(f"{text[:40]!r} is not a time of HOURS:MINUTES:SECONDS")
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds * MICROSECONDS


def _job(job: str, kind: str, message: str) -> Job:
    (
        user,
        group,
        account,
        name,
        queue,
        submitted,
        begun,
        host,
        ended,
        exit_code,
        cpu,
        memory,
        cores,
        wall,
        runs,
        owner,
    ) = _values(message)
    if not (submitted + begun + ended + runs).isdigit():
        raise ValueError("ctime, start, end or run_count is not a number")
    number, _, server = job.partition(".")
    if not number or not server or not user:
        raise ValueError(f"{job[:80]!r} is not NUMBER.SERVER, or user is empty")
    submit, start, end, run = int(submitted), int(begun), int(ended), int(runs or 1)
    if (submit | start | end | run) >> 40:
        raise ValueError("ctime, start, end or run_count is not a number that can be")
    return _JOB((
        PBS, server, number, submit * MICROSECONDS,
        # Torque does not count: the second after the submission in which a run begins tells its runs apart.
        # A job that was deleted as it was about to begin has start=0: it never ran, and not since 1970.
        run - 1 if runs else start - submit if start else 0,
        user, None, start * MICROSECONDS or None, end * MICROSECONDS, _STATES[kind], exit_code, 0, 0, cpu_time(cpu or "0"),
        _nodes(host) if "+" in host else host.partition("/")[0], "", name, queue, group, account,
        owner.partition("@")[2] if owner else "", "", "", "", "",
        _number(cores) if cores else None, cpu_time(wall) if wall else None, _bytes(memory) if memory else None, message, "", "",
    ))  # fmt: skip


def _values(message: str) -> tuple[str, ...]:
    """Return the fields that a job is made of, empty where they are missing, in the order of _OPENPBS's groups.

    What reads as OpenPBS or Torque write it has one reading only, and need not be taken apart; everything else is.
    """
    if " owner=" in message:
        if match := _TORQUE.fullmatch(message):
            found: tuple[str, ...] = _TORQUES(match.groups(""))
            return found
    elif match := _OPENPBS.fullmatch(message):
        return match.groups("")
    fields = fields_of(message)
    for key in _NEEDED:
        if key not in fields:
            raise ValueError(f"{key} is missing")
    get = fields.get
    cores = get("resources_used.ncpus") or get("total_execution_slots") or get("Resource_List.ncpus") or ""
    return (
        fields["user"], get("group", ""), get("account", ""), get("jobname", ""), get("queue", ""), fields["ctime"],
        fields["start"], get("exec_host", ""), fields["end"], get("Exit_status", ""), get("resources_used.cput", ""),
        get("resources_used.mem", ""), cores, get("resources_used.walltime", ""), get("run_count", ""), get("owner", ""),
    )  # fmt: skip


def _carefully(message: str) -> dict[str, str]:
    """Read a record with spaces in a value: in quotes, or in one that Torque does not quote."""
    fields: dict[str, str] = {}
    at = 0
    last = ""
    message = message.rstrip(" ")
    while at < len(message):
        match = _QUOTED.match(message, at)
        if match:
            last = match[1]
            if last in fields:
                raise ValueError(f"{last[:80]!r} stands twice")
            fields[last] = next(value for value in match.groups()[1:] if value is not None)
            at = match.end()
            continue
        word, _, rest = message[at:].partition(" ")
        if not last or "=" in word or '"' in word:
            raise ValueError(f"{word[:80]!r} is not KEY=VALUE")
        fields[last] += f" {word}"
        at = len(message) - len(rest)
    return fields


@lru_cache
def _number(text: str) -> int:
    if not text.isdigit() or len(text) > 12:
        raise ValueError(f"{text[:40]!r} is not a number")
    return int(text)


def _nodes(exec_host: str) -> str:
    """Return the names in ``n1/0*4+n2/0*4``, each once, as n1,n2."""
    return ",".join(dict.fromkeys([slot.partition("/")[0] for slot in exec_host.split("+")]))


def _bytes(text: str) -> int:
    amount, unit = text[:-2], text[-2:]
    if unit != "kb":  # which the servers write of what was used
        amount, unit = (amount, unit) if unit in _SIZES else (text[:-1], text[-1:])
    if not amount.isdigit() or unit not in _SIZES or len(amount) > 12 or int(amount) * _SIZES[unit] >> 62:
        raise ValueError(f"{text[:40]!r} is not an amount of memory")
    return int(amount) * _SIZES[unit]
