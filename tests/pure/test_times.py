"""Times as people write them: one reading, or a refusal that spells out the readings."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.errors import BadQuestion
from gridwarden.local_zone import system_zone
from gridwarden.times import format_instant, is_range, parse_instant, parse_range

BERLIN = ZoneInfo("Europe/Berlin")
CHICAGO = ZoneInfo("America/Chicago")
SECOND = 1_000_000
HOUR = 3600 * SECOND


def instant(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp()) * SECOND


NOW = instant("2026-11-21T15:30:00+01:00")


def parse(text: str, zone=BERLIN, now: int = NOW, **options) -> int:
    return parse_instant(text, now=now, zone=zone, **options)


def refusal(text: str, zone=BERLIN, now: int = NOW) -> str:
    """The whole of what the asker is told: message and hint."""
    with pytest.raises(BadQuestion) as caught:
        parse_range(text, now=now, zone=zone) if is_range(text) else parse(text, zone, now)
    assert "\n" not in str(caught.value)
    return f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("14:02", "2026-11-21T14:02:00+01:00"),
        ("14:02:03", "2026-11-21T14:02:03+01:00"),
        ("today 9:30", "2026-11-21T09:30:00+01:00"),
        ("yesterday 14:00", "2026-11-20T14:00:00+01:00"),
        ("-2h", "2026-11-21T13:30:00+01:00"),
        ("-90m", "2026-11-21T14:00:00+01:00"),
        ("-3d", "2026-11-18T15:30:00+01:00"),
        ("-45s", "2026-11-21T15:29:15+01:00"),
        ("now", "2026-11-21T15:30:00+01:00"),
        ("@1795270920", "2026-11-21T15:22:00+01:00"),
        ("2026-07-01T14:02", "2026-07-01T14:02:00+02:00"),
        ("2026-07-01 14:02:03", "2026-07-01T14:02:03+02:00"),
        ("2026-07-01T14:02:03Z", "2026-07-01T14:02:03+00:00"),
        ("2026-07-01T14:02-0500", "2026-07-01T14:02:00-05:00"),
        ("2026-07-01T14:02+05:30", "2026-07-01T14:02:00+05:30"),
        ("  14:02 ", "2026-11-21T14:02:00+01:00"),
    ],
)
def test_a_time_is_read_as_written(text, iso):
    assert parse(text) == instant(iso)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("Nov 21 14:02:03", "2026-11-21T14:02:03+01:00"),
        ("Nov  1 14:02", "2026-11-01T14:02:00+01:00"),
        ("21/Nov/2026:14:02:03 +0000", "2026-11-21T14:02:03+00:00"),
        ("[20/Nov/2026:14:02:03 -0500]", "2026-11-20T14:02:03-05:00"),
        ("2026-11-21 14:02:03 +0100", "2026-11-21T14:02:03+01:00"),
        ("2026-11-20 14:02:03 UTC", "2026-11-20T14:02:03+00:00"),
        ("2026-11-21 14:02:03.999+01", "2026-11-21T14:02:03.999000+01:00"),
        ("2026-11-21 14:02:03,123", "2026-11-21T14:02:03.123000+01:00"),
        ("2026-11-21T13:02:03.123456789Z", "2026-11-21T13:02:03.123456+00:00"),
    ],
)
def test_a_time_pasted_from_a_log_is_read(text, iso):
    assert parse(text) == round(datetime.fromisoformat(iso).timestamp() * SECOND)


def test_a_log_without_the_year_means_this_one_and_no_time_to_come():
    assert "2026-12-24T10:00:00+01:00, still to come" in refusal("Dec 24 10:00:00")
    assert "2026-02-30" in refusal("Feb 30 10:00:00")


def test_a_day_by_its_name_is_its_first_instant_where_a_beginning_is_asked():
    start, end = parse_range("yesterday..today", now=NOW, zone=BERLIN)
    assert (start, end) == (instant("2026-11-20T00:00:00+01:00"), instant("2026-11-21T00:00:00+01:00"))
    assert "whole day" in refusal("today")


def test_microseconds_are_kept():
    assert parse("@1795270920.000001") == 1795270920_000001
    assert parse("14:02:03.25") == instant("2026-11-21T14:02:03+01:00") + 250_000
    assert format_instant(1795270920_000001, UTC) == "2026-11-21T14:22:00.000001+00:00"


@pytest.mark.parametrize(
    ("text", "zone", "readings"),
    [
        ("2026-10-25T02:30", BERLIN, ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00")),
        ("2026-11-01 01:30", CHICAGO, ("2026-11-01T01:30:00-05:00", "2026-11-01T01:30:00-06:00")),
        ("2026-03-29T02:30", BERLIN, ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00")),
        ("2026-03-08T02:30", CHICAGO, ("2026-03-08T01:30:00-06:00", "2026-03-08T03:30:00-05:00")),
        ("02/03/2026", BERLIN, ("2026-03-02T00:00:00+01:00", "2026-02-03T00:00:00+01:00")),
        ("02.03.2026 14:00", CHICAGO, ("2026-03-02T00:00:00-06:00", "2026-02-03T00:00:00-06:00")),
        ("16:00", BERLIN, ("2026-11-21T16:00:00+01:00", "2026-11-20T16:00:00+01:00")),
        ("2026-11-20", BERLIN, ("2026-11-20..2026-11-21", "2026-11-20T00:00:00+01:00")),
        ("yesterday 14:00..15:00", BERLIN, ("2026-11-20T15:00:00+01:00", "2026-11-21T15:00:00+01:00")),
        ("2026-11-19 14:00..16:00", BERLIN, ("2026-11-19T16:00:00+01:00", "2026-11-21T16:00:00+01:00")),
        ("15:00..14:00", BERLIN, ("2026-11-21T14:00:00+01:00", "2026-11-21T15:00:00+01:00")),
        ("23:00..01:00", BERLIN, ("2026-11-21T23:00:00+01:00", "2026-11-20T23:00:00+01:00")),
    ],
)
def test_a_time_with_two_readings_is_refused_with_both(text, zone, readings):
    told = refusal(text, zone)
    for reading in readings:
        assert reading in told


def test_the_readings_of_today_can_be_asked_today():
    assert "2026-11-21..now" in refusal("2026-11-21")


def test_a_date_that_can_only_be_read_one_way_is_written_out_with_its_time():
    assert "'2026-11-20 14:00'" in refusal("20.11.2026 14:00")


def test_the_last_hours_of_the_calendar_are_refused_like_any_other_future():
    assert "still to come" in refusal("9999-12-31T23:30Z", BERLIN)


def test_the_hour_that_comes_twice_is_refused_when_asked_within_it():
    now = instant("2026-10-25T02:45:00+01:00")
    told = refusal("02:30", now=now)
    assert "2026-10-25T02:30:00+02:00" in told
    assert "2026-10-25T02:30:00+01:00" in told
    assert parse("2026-10-25T02:30+01:00", now=now) - parse("2026-10-25T02:30+02:00", now=now) == HOUR


def test_three_days_are_seventy_two_hours_over_a_clock_change():
    now = instant("2026-10-26T12:00:00+01:00")
    assert parse("-3d", now=now) == now - 72 * HOUR
    assert format_instant(parse("yesterday 12:00", now=now), BERLIN) == "2026-10-25T12:00:00+01:00"


@pytest.mark.parametrize(
    "text",
    ["", "25:00", "14:60", "14", "2:30pm", "2026-02-30T10:00", "2026-13-01T10:00", "tomorrow 10:00", "noon",
     "today", "yesterday", "-2", "-2w", "--2h", "2h", "@", "@-5", "2026-11-20T10:00+25:00", "31/31/2026",
     "2026-11-20T10:00+01:99", "١٤:٠٢", "1969-12-31T12:00Z", "-999999999999d",
     "@99999999999", "@999999999999",
     "9999-12-31T23:59", "0001-01-01T00:00", "14:00..", "..15:00", "..", "14:00...15:00", "14:00..14:00",
     "2026-11-19..2027-01-01", "99/99/9999", "31/12/9999", "9999-12-31", "0001-01-01"],
)  # fmt: skip
def test_what_is_not_a_time_is_refused_in_one_line(text):
    assert refusal(text)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("14:00..15:00", "2026-11-21T14:00:00+01:00", "2026-11-21T15:00:00+01:00"),
        ("-2h..now", "2026-11-21T13:30:00+01:00", "2026-11-21T15:30:00+01:00"),
        ("-1d..15:00", "2026-11-20T15:30:00+01:00", "2026-11-21T15:00:00+01:00"),
        ("yesterday 23:00..today 1:00", "2026-11-20T23:00:00+01:00", "2026-11-21T01:00:00+01:00"),
        ("2026-11-01..2026-11-02", "2026-11-01T00:00:00+01:00", "2026-11-02T00:00:00+01:00"),
        ("2026-11-01T10:00Z .. now", "2026-11-01T11:00:00+01:00", "2026-11-21T15:30:00+01:00"),
    ],
)
def test_a_range_is_read_as_written(text, start, end):
    assert parse_range(text, now=NOW, zone=BERLIN) == (instant(start), instant(end))


def test_what_a_range_lacks_is_said():
    assert "lacks an end" in refusal("-1h..")
    assert "lacks a start" in refusal("..now")


def test_a_date_alone_begins_at_its_midnight_where_a_beginning_is_asked():
    assert parse("2026-11-01", date_alone=True) == instant("2026-11-01T00:00:00+01:00")


@given(st.integers(0, NOW), st.sampled_from([BERLIN, CHICAGO, UTC, ZoneInfo("Asia/Kathmandu")]))
def test_an_instant_shown_can_be_pasted_back(moment, zone):
    assert parse(format_instant(moment, zone), zone) == moment


@given(st.datetimes(datetime(1990, 1, 1), datetime(2026, 11, 20)), st.sampled_from([BERLIN, CHICAGO]))  # noqa: DTZ001  a wall clock, as people write it
def test_a_wall_clock_time_is_read_as_one_that_shows_it_or_refused(wall, zone):
    try:
        moment = parse(wall.isoformat(), zone)
    except BadQuestion:
        offsets = {(wall + timedelta(hours=h)).replace(tzinfo=zone).utcoffset() for h in (-2, 2)}
        assert len(offsets) == 2
    else:
        assert format_instant(moment, zone).startswith(wall.isoformat())


@given(st.text(max_size=30))
def test_no_text_gets_anything_but_an_instant_or_a_refusal(text):
    for read in (parse, lambda each: parse_range(each, now=NOW, zone=BERLIN)):
        try:
            read(text)
        except BadQuestion as error:
            assert "\n" not in str(error)  # noqa: PT017  most texts are refused, some are not


def test_the_local_zone_follows_tz_and_refuses_one_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert system_zone() == BERLIN
    monkeypatch.setenv("TZ", "Atlantis/Capital")
    with pytest.raises(BadQuestion, match="Atlantis"):
        system_zone()
    file = tmp_path / "zone"  # one type of local time, tzfile(5)
    file.write_bytes(
        b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbB", 7200, 0, 0) + b"XYZ\0"
    )
    monkeypatch.setenv("TZ", f":{file}")  # as many set it to /etc/localtime, to save libc a system call
    assert datetime.now(system_zone()).utcoffset() == timedelta(hours=2)
    monkeypatch.delenv("TZ")
    assert datetime.now(system_zone()).utcoffset() == datetime.now().astimezone().utcoffset()
