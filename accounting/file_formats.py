"""Which program wrote a file, and what its entries are: lines, ads or jobs."""

from __future__ import annotations

import codecs
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import ce_claims, htcondor_history, pbs_log, sacct_json, syslog_claims
from gridwarden.accounting.batch_records import HTCONDOR, PBS, Ignored, Job, Step
from gridwarden.accounting.claims import Claim
from gridwarden.accounting.log_files import LONGEST_LINE
from gridwarden.errors import ConfigurationError
from gridwarden.local_zone import system_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridwarden.accounting.log_files import Log

LARGEST_AD = 16 << 20
UNFINISHED = "it was cut short"
SACCT_JSON = "sacct-json"
CLAIMS = "claims"

_PBS = re.compile(rb"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d;")
_AD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]* ?= ?|\*\*\* ")
_JSON = re.compile(rb"\s*\{")
_ONE_JOB = re.compile(r"history\.\d+\.\d+(\.(gz|bz2|xz))?", re.ASCII)
_LARGEST_INTEGER = (1 << 63) - 1

Row = Job | Step | Claim
Rows = list[Row]


class Entry(NamedTuple):
    """A line, ad or job; ``end`` is the offset after it, 0 where reading cannot begin again, ``fault`` mostly empty."""

    text: bytes
    end: int
    fault: str


class Format(NamedTuple):
    """How to read a file: ``entries`` from an offset on, and ``parse``, which raises ValueError with the reason."""

    kind: str
    entry: str
    entries: Callable[[Log, int], Iterator[Entry]]
    parse: Callable[[str], Rows | Ignored]


def format_of(log: Log, node: str) -> Format | None:
    """Tell a file's format by how it begins; None for an empty file.  Raises ConfigurationError, Unavailable.

    ``node`` is where a log was written that does not name its own.
    """
    first = next(log.lines(), b"")
    if not first:
        return None
    if _PBS.match(first):
        return Format(PBS, "line", lines, partial(_one, pbs_log.parse, "\n"))
    if _AD.match(first):
        return Format(HTCONDOR, "ad", ads, partial(_one, htcondor_history.parse, ""))
    if _JSON.match(first):
        reader = sacct_json.Reader()
        return Format(SACCT_JSON, "job", jobs, lambda text: storable([*reader.parse(text)]))
    if of_claims := _of_claims(first.decode("utf-8", "backslashreplace"), log, node):
        return Format(CLAIMS, "line", lines, partial(_one, of_claims, "\n"))
    raise ConfigurationError(
        f"{log.name}: is no accounting log of OpenPBS or Torque, no history of HTCondor, no output of sacct --json, no "
        "process accounting of version 3, no syslog, and no log of LCMAPS, BLAH or HTCondor-CE",
        "name the programs' own files; gzip, bzip2 and xz are read as they are",
    )


def lines(log: Log, offset: int) -> Iterator[Entry]:
    """Yield each line."""
    at = offset
    begun = b""
    for piece in log.lines(offset):
        at += len(piece)
        ended = piece.endswith(b"\n")
        if not ended and len(piece) == LONGEST_LINE:
            begun = begun or piece
        elif begun:
            yield Entry(begun, at, f"it is longer than {LONGEST_LINE} bytes" if ended else UNFINISHED)
            begun = b""
        else:
            yield Entry(piece, at, "" if ended else UNFINISHED)
    if begun:
        yield Entry(begun, at, UNFINISHED)


def ads(log: Log, offset: int) -> Iterator[Entry]:
    """Yield each ad with the banner that ends it; the file of a single job has none."""
    parts: list[bytes] = []
    size = end = 0
    alone = offset == 0 and _ONE_JOB.fullmatch(log.name.rpartition("/")[2]) is not None
    fault = ""
    for line in lines(log, offset):
        size += len(line.text)
        end = line.end
        fault = fault or line.fault
        if size <= LARGEST_AD:
            parts.append(line.text)
        else:
            fault = f"it is larger than {LARGEST_AD} bytes"
        if line.text.startswith(b"*** ") and line.fault != UNFINISHED:
            yield Entry(b"".join(parts), end, fault)
            parts, size, fault, alone = [], 0, "", False
    if parts:
        yield Entry(b"".join(parts), end, fault if alone else UNFINISHED)


def jobs(log: Log, _: int) -> Iterator[Entry]:
    """Yield each job of a JSON document."""
    text = codecs.iterdecode(log.chunks(), "utf-8", errors="backslashreplace")
    documents = sacct_json.documents(text)
    while True:
        try:
            document = next(documents, None)
        except ValueError as error:
            yield Entry(b"", 0, str(error))
            return
        if document is None:
            return
        yield Entry(document.encode("utf-8", "backslashreplace"), 0, "")


def _of_claims(first: str, log: Log, node: str) -> Callable[[str], Claim | Ignored] | None:
    """Return how to read a log that says who was behind an account, None where it is no such log."""
    zone = system_zone()
    if ce_claims.is_blah(first):
        return partial(ce_claims.of_blah, node=node)
    if ce_claims.is_audit(first):
        return partial(ce_claims.of_audit, node=node, zone=zone)
    if syslog_claims.is_lcmaps(first):
        return partial(syslog_claims.of_lcmaps, node=node)
    if syslog_claims.is_syslog(first):
        return partial(syslog_claims.of_syslog, written=log.modified // 1000, zone=zone)
    return None


def _one(parse: Callable[[str], Row | Ignored], ending: str, text: str) -> Rows | Ignored:
    found = parse(text.removesuffix(ending))
    return found if isinstance(found, Ignored) else storable([found])


def storable(rows: Rows) -> Rows:
    """Refuse numbers that no database holds; raises ValueError."""
    for row in rows:
        for name, value in zip(row._fields, row, strict=True):
            if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
                raise ValueError(f"{name} is {str(value)[:40]}, which cannot be")
    return rows
