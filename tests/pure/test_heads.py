"""Heads out of syslog, in the forms in which hosts keep it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gridwarden import syslog_line
from gridwarden.accounting import heads

HEAD = "ab" * 32
NOW = int(datetime(2026, 11, 22, 8, tzinfo=UTC).timestamp()) * 1_000_000
TEXT = syslog_line.line("map", "leased", subject="/CN=Anna Example", seq=17, head=HEAD)


def parse(line: str, zone=UTC) -> list[heads.Head]:
    return list(heads.parse([line.encode("utf-8", "surrogateescape")], "syslog", now=NOW, zone=zone))


@pytest.mark.parametrize(
    "begin",
    [
        "2026-11-21T07:44:18.000000+00:00 wn1 gridwarden[123]: ",
        "2026-11-21T08:44:18+0100 wn1.example.org gridwarden[123]: ",
        "Nov 21 07:44:18 wn1 gridwarden[123]: ",
        "<86>Nov 21 07:44:18 wn1 gridwarden[123]: ",
        "<86>1 2026-11-21T07:44:18Z wn1.example.org gridwarden 123 - - ",
        '<86>1 2026-11-21T07:44:18Z wn1 gridwarden 123 - [origin x="1"] ',
    ],
)
def test_a_head_is_read_in_every_form_of_syslog(begin):
    moment = int(datetime(2026, 11, 21, 7, 44, 18, tzinfo=UTC).timestamp()) * 1_000_000
    assert parse(begin + TEXT + "\n") == [heads.Head("wn1", 17, HEAD, moment, "syslog:1")]


def test_a_time_without_a_year_is_never_still_to_come():
    (head,) = parse(f"Dec 24 18:00:00 wn1 gridwarden[1]: {TEXT}", ZoneInfo("Europe/Berlin"))
    assert head.time == int(datetime(2025, 12, 24, 17, tzinfo=UTC).timestamp()) * 1_000_000


def test_a_leap_day_is_of_the_last_year_that_had_one_whenever_the_file_was_written():
    for written in ((2024, 3, 1), (2025, 1, 10), (2026, 11, 22), (2028, 2, 27)):
        now = int(datetime(*written, tzinfo=UTC).timestamp()) * 1_000_000
        assert heads.instant(None, "Feb 29 18:00:00", now, UTC) == 1_709_229_600_000_000
    assert heads.instant(None, "Feb 29 18:00:00", 1_709_000_000_000_000, UTC) == 1_582_999_200_000_000
    for odd in ("Feb 30 18:00:00", "Foo 01 18:00:00", "Feb 29 25:00:00"):
        assert heads.instant(None, odd, now, UTC) is None


@pytest.mark.parametrize(
    "line",
    [
        f"2026-11-21T07:44:18Z wn1 sshd[123]: {TEXT}",
        f"2026-11-21T07:44:18Z wn1 sshd[1]: gridwarden[1]: {TEXT}",
        f"2026-13-21T07:44:18Z wn1 gridwarden[123]: {TEXT}",
        "2026-11-21T07:44:18Z wn1 gridwarden[123]: " + TEXT[:-1],
        "2026-11-21T07:44:18Z wn1 gridwarden[123]: "
        + syslog_line.line("map", "refused", subject=f"x seq=1 head={HEAD}"),
        "2026-11-21T07:44:18Z wn1 gridwarden[123]: "
        + syslog_line.line("question", "refused", text=f"x seq=1 head={HEAD} x" + "\x01" * 900).partition(f"{HEAD}")[0]
        + HEAD,
        "\udcff\x00",
        "",
    ],
)
def test_nothing_that_somebody_else_wrote_passes_for_a_head(line):
    assert parse(line) == []


def test_a_line_made_to_be_slow_is_read_at_once():
    begin = "<86>1 2026-11-21T07:44:18Z wn1 gridwarden 123 - [" + "] event=" * 100_000
    assert parse(begin + TEXT + "x") == []
    assert (
        len(parse("2026-11-21T07:44:18Z wn1 gridwarden[1]: event=" + " seq=1" * 100_000 + f" seq=17 head={HEAD}")) == 1
    )
