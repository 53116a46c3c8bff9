"""Times as logs write them, from which an alarm is pasted at night: rewritten as ISO 8601.  Pure.

Seen in syslog (RFC 3164, section 4.1.2), the logs of web servers (Common Log Format), Python's and Java's (a comma before the
milliseconds), Go's and journald's (nanoseconds), PostgreSQL's and git's (a blank before the offset).
"""

from __future__ import annotations

import re

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MONTH = "|".join(MONTHS)
_SYSLOG = re.compile(rf"({_MONTH}) +(\d{{1,2}}) (\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)", re.ASCII)
_WEB = re.compile(rf"\[?(\d\d)/({_MONTH})/(\d{{4}}):(\d\d:\d\d:\d\d)(?: ([+-]\d{{4}}))?\]?", re.ASCII)
_LONG_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,6})\d{0,3}(?!\d)", re.ASCII)
_OFFSET_APART = re.compile(r"(?<=\d) (?=[+-]\d\d(?::?\d\d)?$)", re.ASCII)
_UTC = re.compile(r"(?<=\d) ?(?:UTC|GMT)$", re.ASCII)


def as_iso(text: str, year: int) -> str:
    """Rewrite a time; ``year`` is that of one that says none.  What is none of these stays as it is."""
    if found := _SYSLOG.fullmatch(text):
        text = f"{year:04}-{_number(found[1])}-{int(found[2]):02} {found[3]}"
    elif found := _WEB.fullmatch(text):
        text = f"{found[3]}-{_number(found[2])}-{found[1]}T{found[4]}{found[5] or ''}"
    text = _LONG_FRACTION.sub(r".\1", text)
    return _UTC.sub("Z", _OFFSET_APART.sub("", text))


def begins_with_month(text: str) -> bool:
    """Say whether a text may be a time of syslog's."""
    return text[:3] in MONTHS and text[3:4] == " "


def _number(month: str) -> str:
    return f"{MONTHS.index(month) + 1:02}"
