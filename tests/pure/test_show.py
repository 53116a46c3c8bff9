"""Figures as a person reads them."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.answers import NOTHING
from gridwarden.accounting.report import Report, Row
from gridwarden.accounting.show import answer_cells, bars, cpu_text, report_notes
from gridwarden.times import Range


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0:00:00.000"),
        (1_312_000, "0:00:01.312"),
        (3_600_000_000 * 100 + 59_999_600, "100:01:00.000"),
        (-1_000, "-0:00:00.001"),
    ],
)
def test_cpu_time_is_shown_to_the_millisecond(microseconds, text):
    assert cpu_text(microseconds) == text


@given(st.integers(-(10**15), 10**15))
def test_cpu_time_shown_is_the_cpu_time(microseconds):
    sign = -1 if cpu_text(microseconds).startswith("-") else 1
    hours, minutes, seconds = cpu_text(microseconds).lstrip("-").split(":")
    assert abs(sign * (int(hours) * 3600 + int(minutes) * 60 + float(seconds)) - microseconds / 1e6) < 0.000_51


def test_an_answer_shows_times_that_can_be_asked_again():
    cells = answer_cells(NOTHING._replace(since=1_795_270_920_000_000), UTC)
    assert (cells["since"], cells["until"]) == ("2026-11-21T14:22:00+00:00", None)


def test_a_table_shows_seconds_and_programs_get_all():
    answer = NOTHING._replace(since=1_795_270_920_349_319)
    assert answer_cells(answer, UTC)["since"] == "2026-11-21T14:22:00.349319+00:00"
    assert answer_cells(answer, UTC, to_the_second=True)["since"] == "2026-11-21T14:22:00+00:00"


def test_a_report_says_what_it_leaves_out():
    rows = [Row("part", "/CN=Anna", "cms", "cms001", 1, 5, "batch"), Row("total", "", "", "", 1, 5, "")]
    report = Report(rows, 2, {"no hook recorded its start": 3})
    notes = report_notes(report, Range(0, 1_000_000), UTC)
    assert "1970-01-01T00:00:01+00:00" in notes[0]
    assert "2 jobs" in notes[1]
    assert "no hook recorded its start: 3 jobs" in notes[2]
    assert bars(report, ("identity", "vo")) == [("/CN=Anna cms", 5, "0:00:00.000"), ("total", 0, "0:00:00.000")]


def test_a_bar_says_what_it_is_of_where_there_is_no_name():
    part, nobodys = Row("part", "", "", "", 1, 5, "batch"), Row("unattributed", "", "", "", 1, 5, "", queue="short")
    report = Report([part, part._replace(row="outside", queue="short"), nobodys], 0, {})
    assert [label for label, _, _ in bars(report, ("queue",))] == [
        "no queue",
        "short (outside)",
        "short (unattributed)",
    ]
