"""Instants and ranges as people write them during an incident, and back to ISO 8601.

An instant is an integer: microseconds since 1970-01-01T00:00:00Z.  Wall-clock times are read in a zone
that the caller names.  What has two readings, or none, is refused with both readings spelled out in
ISO 8601 with their offsets, so that the right one can be pasted back; nothing is ever guessed.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from gridwarden.errors import BadQuestion
from gridwarden.log_times import as_iso

GRAMMAR = (
    "write 14:02, 'yesterday 14:00', 2026-11-21T14:02 (with or without +01:00 or Z), -2h, -90m, -3d, "
    "@1795270920, now, or a range such as 14:00..15:00"
)
MICROSECONDS = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# A day is 24 hours here, as in systemd.time(7): the wall clock of three days ago is written as a date.
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?"
_OFFSET = r"(?P<offset>[Zz]|[+-]\d\d(?::?[0-5]\d)?)"
_AGO = re.compile(r"-(\d{1,12})([smhd])", re.ASCII)
_SINCE_EPOCH = re.compile(r"@(\d{1,11})(?:\.(\d{1,6}))?", re.ASCII)
_TIME_OF_DAY = re.compile(rf"(?:(?P<day>today|yesterday) +)?{_CLOCK}", re.ASCII)
_ISO = re.compile(rf"(?P<date>\d{{4}}-\d\d-\d\d)(?:[T ]{_CLOCK}{_OFFSET}?)?", re.ASCII)
_SLASHED = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(.*)", re.ASCII)


class Range(NamedTuple):
    """From ``start`` up to, not including, ``end``; both microseconds since the epoch."""

    start: int
    end: int


def format_instant(instant: int, zone: tzinfo) -> str:
    """Write an instant as ISO 8601 with its offset in the zone; microseconds only where there are some."""
    timespec = "microseconds" if instant % MICROSECONDS else "seconds"
    return _aware(instant, zone).isoformat(timespec=timespec)


def is_range(text: str) -> bool:
    """Say whether the text is written as a range."""
    return ".." in text


def parse_instant(text: str, *, now: int, zone: tzinfo, date_alone: bool = False) -> int:
    """Read one instant, not later than ``now``.

    A date without a time, or a day's name, is the day's first instant if ``date_alone``, and refused otherwise: alone it
    could as well mean the whole day.  Raises BadQuestion.
    """
    text = as_iso(text.strip(), _aware(now, zone).year)
    instant = _relative(text, now)
    if instant is None:
        instant = _calendar(text, now, zone, date_alone=date_alone)
    if instant < 0:
        message = f"{text!r} is before 1970"
        raise BadQuestion(message, GRAMMAR)
    if instant > now:
        raise _still_to_come(text, instant, now, zone)
    return instant


def parse_range(text: str, *, now: int, zone: tzinfo) -> Range:
    """Read ``A..B``; raises BadQuestion, also for an end before the start and for an end on an unsaid day."""
    first, _, last = (part.strip() for part in text.partition(".."))
    if not first or not last:
        message = f"the range {text!r} lacks {'an end' if first else 'a start'}"
        raise BadQuestion(message, "write both, such as 14:00..15:00 or -2h..now")
    start = parse_instant(first, now=now, zone=zone, date_alone=True)
    _refuse_unsaid_day(start, first, last, now, zone)
    return ordered(start, parse_instant(last, now=now, zone=zone, date_alone=True), zone)


def ordered(start: int, end: int, zone: tzinfo) -> Range:
    """Make a range of two instants; raises BadQuestion when it would be empty or run backwards."""
    if end <= start:
        message = (
            f"the range ends at {format_instant(end, zone)}, which is not after its start {format_instant(start, zone)}"
        )
        raise BadQuestion(message, "write the earlier time first, and the day where it is not today")
    return Range(start, end)


def _relative(text: str, now: int) -> int | None:
    """Read what does not depend on a calendar: now, -2h, @epoch."""
    if text == "now":
        return now
    if match := _AGO.fullmatch(text):
        return now - int(match[1]) * _UNITS[match[2]] * MICROSECONDS
    if match := _SINCE_EPOCH.fullmatch(text):
        return int(match[1]) * MICROSECONDS + int((match[2] or "").ljust(6, "0"))
    return None


def _calendar(text: str, now: int, zone: tzinfo, *, date_alone: bool) -> int:
    """Read dates and times of day."""
    if match := _TIME_OF_DAY.fullmatch(text):
        today = _aware(now, zone).date()
        day = today - timedelta(days=1) if match["day"] == "yesterday" else today
        return _from_wall_clock(datetime.combine(day, _clock(match, text)), zone, text)
    if match := _ISO.fullmatch(text):
        if match["hour"] is None and not date_alone:
            raise _day_or_midnight(text, now, zone)
        day = _date(match["date"], text)
        wall = datetime.combine(day, _clock(match, text) if match["hour"] else time())
        if match["offset"] is None:
            return _from_wall_clock(wall, zone, text)
        try:
            # The pattern has limited the offset's form; hours and minutes out of range raise here.
            return _instant(datetime.fromisoformat(wall.isoformat() + match["offset"].upper()))
        except ValueError:
            message = f"{text!r} has no offset from UTC that exists"
            raise BadQuestion(message, GRAMMAR) from None
    if match := _SLASHED.fullmatch(text):
        raise _day_or_month_first(text, match, zone)
    if text in {"today", "yesterday"} and date_alone:
        return _calendar(f"{text} 00:00", now, zone, date_alone=False)
    if text in {"today", "yesterday"}:
        message = f"{text!r} is a whole day, not a time"
        raise BadQuestion(message, f"write '{text} 14:00', or a range such as yesterday..today")
    message = f"{text!r} is not a time"
    raise BadQuestion(message, GRAMMAR)


def _clock(match: re.Match[str], text: str) -> time:
    try:
        fraction = int((match["fraction"] or "").ljust(6, "0"))
        return time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0), fraction)
    except ValueError:
        message = f"{text!r} is not a time of a day: hours are 0 to 23, minutes and seconds 0 to 59"
        raise BadQuestion(message, GRAMMAR) from None


def _date(digits: str, text: str) -> date:
    try:
        return date.fromisoformat(digits)
    except ValueError:
        message = f"{text!r} is not a day of the calendar"
        raise BadQuestion(message, GRAMMAR) from None


def _from_wall_clock(wall: datetime, zone: tzinfo, text: str) -> int:
    """Turn a wall-clock time into its instant, refusing the hours that a clock change repeats or skips."""
    earlier, later = (_instant(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if earlier == later:
        return earlier
    if earlier < later:
        message = (
            f"{text!r} happened twice, the clocks went back: "
            f"{format_instant(earlier, zone)} or {format_instant(later, zone)}"
        )
    else:
        message = (
            f"{text!r} never happened, the clocks went forward over it: "
            f"nearest are {format_instant(later, zone)} or {format_instant(earlier, zone)}"
        )
    raise BadQuestion(message, "write the one that is meant, with its offset")


def _still_to_come(text: str, instant: int, now: int, zone: tzinfo) -> BadQuestion:
    message = f"{text!r} is {format_instant(instant, zone)}, still to come: it is {format_instant(now, zone)} now"
    match = _TIME_OF_DAY.fullmatch(text)
    if match is None or match["day"] is not None:
        return BadQuestion(message, "write a time in the past, or now")
    before = datetime.combine(_aware(now, zone).date() - timedelta(days=1), _clock(match, text))
    try:
        reading = format_instant(_from_wall_clock(before, zone, text), zone)
    except BadQuestion as error:
        return BadQuestion(message, f"for the day before: {error}")
    return BadQuestion(message, f"for the day before, write {reading} or 'yesterday {text}'")


def _day_or_midnight(text: str, now: int, zone: tzinfo) -> BadQuestion:
    day = _date(text, text)
    end = "now" if day == _aware(now, zone).date() else str(day + timedelta(days=1) if day < date.max else day)
    first = format_instant(_instant(datetime.combine(day, time(), zone)), zone)
    message = f"{text!r} is the whole day {day}..{end} or the instant {first}"
    return BadQuestion(message, "write one of them, or add a time")


def _day_or_month_first(text: str, match: re.Match[str], zone: tzinfo) -> BadQuestion:
    """Name the readings of 02/03/2026 that exist."""
    one, other, year = int(match[1]), int(match[3]), int(match[4])
    readings = []
    for month, day in sorted({(other, one), (one, other)}):
        try:
            readings.append(format_instant(_instant(datetime(year, month, day, tzinfo=zone)), zone))
        except (ValueError, OverflowError):
            continue
    if not readings:
        return BadQuestion(f"{text!r} is not a day of the calendar", GRAMMAR)
    if len(readings) == 1:
        return BadQuestion(f"{text!r} is not written year-month-day", f"write '{readings[0][:10]}{match[5]}'")
    message = f"{text!r} is written day first or month first: {' or '.join(readings)}"
    return BadQuestion(message, "write the date as year-month-day")


def _refuse_unsaid_day(start: int, first: str, last: str, now: int, zone: tzinfo) -> None:
    """Refuse 'yesterday 14:00..15:00': 15:00 alone is today's, but the reader may mean the start's day."""
    match = _TIME_OF_DAY.fullmatch(last)
    today, day = _aware(now, zone).date(), _aware(start, zone).date()
    if match is None or match["day"] is not None or day == today or _relative(first, now) is not None:
        return
    clock = _clock(match, last)
    readings = [
        format_instant(_from_wall_clock(datetime.combine(each, clock), zone, last), zone) for each in (day, today)
    ]
    message = f"the range's end {last!r} is {readings[0]} or {readings[1]}"
    raise BadQuestion(message, "write the end's day too")


def _aware(instant: int, zone: tzinfo) -> datetime:
    moment = _EPOCH + timedelta(microseconds=instant)
    try:
        return moment.astimezone(zone)
    except OverflowError:  # the calendar's last hours, which have no date east of Greenwich
        return moment


def _instant(moment: datetime) -> int:
    try:
        return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except OverflowError:
        message = f"{moment.isoformat()} is beyond the calendar"
        raise BadQuestion(message, GRAMMAR) from None
