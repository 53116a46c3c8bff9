"""Bars that fit the terminal and tell the truth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.chart import draw
from gridwarden.output import width


def test_bars_are_as_long_as_their_values():
    lines = draw([("anna", 400, "400"), ("bela", 100, "100"), ("none", 0, "0"), ("less", -5, "-5")], 59)
    assert [line.count("█") for line in lines] == [48, 12, 0, 0]


def test_a_little_is_not_shown_as_nothing():
    assert "▏" in draw([("anna", 10**9, "much"), ("bela", 1, "little")], 60)[1]
    assert "#" in draw([("anna", 10**9, "much"), ("bela", 1, "little")], 60, plain=True)[1]


def test_a_plain_chart_is_ascii():
    assert "".join(draw([("a", 3, "3"), ("b", 2, "2")], 40, plain=True)).isascii()


def test_no_name_can_move_the_cursor():
    assert "\x1b" not in draw([("\x1b[2J", 1, "1")], 60)[0]


@given(
    st.lists(st.tuples(st.text(max_size=120), st.integers(-(10**15), 10**15), st.just("1:00:00.000")), max_size=8),
    st.integers(40, 200),
)
def test_no_line_is_wider_than_the_terminal(bars, columns):
    assert all(width(line.rstrip("\n")) <= columns for line in draw(bars, columns))
