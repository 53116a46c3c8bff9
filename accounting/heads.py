"""The heads of ledgers that left their nodes, out of files of syslog.

Every record is also a line of syslog that ends with ``seq=N head=H``: its number in the ledger and its hash, which seals
all lines up to it.  Where another host keeps those lines, root of the node cannot write its ledger anew unseen.
Formats: rsyslog's own and its traditional one (RFC 3164, local time without a year), RFC 5424, and
``journalctl -o short-iso-precise``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BEGIN = re.compile(
    r"(?:<\d{1,3}>1? ?)?"
    r"(?:(?P<iso>\d{4}-\d\d-\d\dT\S+)|(?P<old>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)) "
    r"(?P<host>\S+) gridwarden(?:\[\d+\])?(?::| \S+ \S+ (?:-|\[[^]]*\])) event="
)
# The line ends so, and a value that ends with these words stands in quotes: nobody's name passes for a head.
_END = re.compile(rb" seq=(\d{1,18}) head=([0-9a-f]{64})\r?\n?\Z")
_LONGEST_END = 100
LONGEST_BETWEEN_LEAP_YEARS = 8


class Head(NamedTuple):
    """A ledger's last line at a ``time``: its number and its hash; ``place`` is where syslog says so."""

    node: str
    seq: int
    hash: str
    time: int
    place: str


def parse(lines: Iterable[bytes], name: str, *, now: int, zone: tzinfo) -> Iterator[Head]:
    """Yield the heads in lines of syslog from the file ``name``; lines of others, and of no form we know, have none."""
    for number, raw in enumerate(lines, 1):
        end = _END.search(raw[-_LONGEST_END:])
        line = raw.decode("utf-8", "backslashreplace") if end else ""
        begin = _BEGIN.match(line)
        if end is None or begin is None or (time := instant(begin["iso"], begin["old"], now, zone)) is None:
            continue
        if line[begin.end() : -len(end[0])].count('"') % 2:
            continue  # it is within a value, where a daemon of syslog cut a long line short: rsyslog after 8 KiB
        node = begin["host"].partition(".")[0]
        yield Head(node, int(end[1]), end[2].decode("ascii"), time, f"{name}:{number}")


def instant(iso: str | None, old: str | None, now: int, zone: tzinfo) -> int | None:
    """Read a time; one without a year is of the last year in which it is not still to come at ``now``."""
    try:
        if iso:
            moment = datetime.fromisoformat(iso)
        else:
            moment = _last(old or "", datetime.fromtimestamp(now // MICROSECONDS, zone))
        aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * MICROSECONDS)
    except (ValueError, OverflowError):
        return None


def _last(old: str, now: datetime) -> datetime:
    """Return when a time without a year was last; raises ValueError for one that was not: February has 29 days in some years."""
    for year in range(now.year, now.year - LONGEST_BETWEEN_LEAP_YEARS - 1, -1):
        try:
            moment = datetime.strptime(f"{year} {old}", "%Y %b %d %H:%M:%S").replace(tzinfo=now.tzinfo)
        except ValueError:
            continue
        if moment <= now + timedelta(days=1):
            return moment
    raise ValueError(f"{old!r} is not a time")
