r"""gridwarden's own ban list: what LCMAPS's ban files have no words for.

A ban is a line of ``key=value`` fields with tabs between them, the values escaped as in ``gridwarden.tab_file``:

- whom: ``pattern`` (of the subject or any FQAN, as a line of a ban file), ``vo``, ``issuer``, ``subject``, ``jti``,
  ``serial``, ``account``; who meets every one that the line has is banned;
- ``because``, ``author``, ``made``, ``start``, ``end``: for people, and from when until before when it holds
  (``2026-11-22T04:00:00Z``), which may be left out.

Lines that begin with ``#`` are comments.  Any other line that cannot be read is a fault of the whole file: so is one
with blanks where tabs belong, whose first value would swallow the fields behind it and be nobody's.
"""

from __future__ import annotations

from gridwarden import tab_file
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.ban import CONDITIONS, PATTERN, Ban
from gridwarden.patterns import check_pattern

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

BEGINNINGS = ("/", "*", "?", "[")  # of a pattern that can match a DN or FQAN
REMARKS = ("because", "author", "made", "start", "end")
LONGEST_SERIAL = 64
HEXADECIMAL = frozenset("0123456789abcdef")
MOMENT, DIGITS = "0000-00-00T00:00:00Z", str.maketrans("123456789", "000000000")


def parse(data: bytes, name: str) -> list[Ban]:
    """The bans of one file's bytes, whenever they hold; raises ConfigurationError with every line that is wrong."""
    bans: list[Ban] = []
    faults: list[str] = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip() or raw.startswith(b"#"):
            continue
        try:
            bans.append(parse_line(raw.decode("ascii"), name, number))
        except ValueError as error:
            what = "it holds bytes that are not ASCII" if isinstance(error, UnicodeError) else str(error)
            faults.append(f"{name}:{number}: {what}")
    if faults:
        raise ConfigurationError(faults, "until it is corrected, everybody is refused")
    return bans


def parse_line(text: str, name: str, number: int) -> Ban:
    """The ban that one line is; raises ValueError."""
    fields: dict[str, str] = {}
    for field in text.split("\t"):
        key, equals, value = field.partition("=")
        if not equals or key not in (*CONDITIONS, *REMARKS):
            raise ValueError(
                f"{tab_file.escape(field)!r} is not one of {', '.join((*CONDITIONS, *REMARKS))}, = and a value"
            )
        if key in fields:
            raise ValueError(f"{key} stands twice")
        if not value.isprintable() or not value.strip():
            raise ValueError(f"{key} is empty, or holds control characters; fields are parted by one tab")
        if key in CONDITIONS and (
            swallowed := next((one for one in (*CONDITIONS, *REMARKS) if f" {one}=" in value), "")
        ):
            raise ValueError(
                f"in {key} stands ' {swallowed}=': part fields by one tab, or write the blank of a value as \\x20"
            )
        fields[key] = tab_file.unescape(value)
    return checked({key: fields[key] for key in fields if key in CONDITIONS}, fields, name, number)


def checked(conditions: Mapping[str, str], remarks: Mapping[str, str], name: str, number: int) -> Ban:
    """A ban of these conditions and remarks; raises ValueError where it would match nobody or hold at no time."""
    if not conditions:
        raise ValueError("it says of nobody in particular that they are banned")
    if pattern := conditions.get(PATTERN):
        if not pattern.startswith(BEGINNINGS):
            raise ValueError(f"the pattern {pattern} matches nobody: a DN or FQAN begins with '/'")
        check_pattern(pattern)
    if "serial" in conditions:
        conditions = {**conditions, "serial": serial(conditions["serial"])}
    start, end = remarks.get("start", ""), remarks.get("end", "")
    for key in ("made", "start", "end"):
        if (moment := remarks.get(key)) and not is_moment(moment):
            raise ValueError(f"{key} is not a time such as 2026-11-22T04:00:00Z")
    if end and end <= start:
        raise ValueError(f"it ends at {end}, which is not after its start")
    whom = tuple((kind, conditions[kind]) for kind in CONDITIONS if kind in conditions)
    return Ban(
        whom, name, number, remarks.get("because", ""), remarks.get("author", ""), start, end, remarks.get("made", "")
    )


def line(ban: Ban) -> str:
    """The line, without its end, that ``parse_line`` reads as ``ban``."""
    remarks = [(key, str(getattr(ban, key))) for key in REMARKS]
    fields = [*ban.conditions, *((key, value) for key, value in remarks if value)]
    return "\t".join(f"{key}={_whole(tab_file.escape(value))}" for key, value in fields)


def _whole(value: str) -> str:
    """A value in which no blank stands where a field could seem to begin."""
    for key in (*CONDITIONS, *REMARKS):
        value = value.replace(f" {key}=", f"\\x20{key}=")
    return value


def serial(text: str) -> str:
    """A certificate's serial number in plain hexadecimal, however a tool wrote it; raises ValueError."""
    plain = text.strip().lower().removeprefix("0x").replace(":", "").lstrip("0") or "0"
    if len(plain) > LONGEST_SERIAL or not HEXADECIMAL.issuperset(plain):
        raise ValueError(f"{text!r} is not a serial number in hexadecimal")
    return plain


def is_moment(text: str) -> bool:
    """Whether ``text`` is a time in UTC in the one form in which times also sort as text."""
    if text.translate(DIGITS) != MOMENT:
        return False
    month, day, hour, minute, second = (int(text[place : place + 2]) for place in range(5, 18, 3))
    return 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60
