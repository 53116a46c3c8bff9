"""What an answer looks like, and that no cell of it can lie to the terminal."""

from __future__ import annotations

import csv
import io
import json

import pytest

from gridwarden.output import as_blocks, as_csv, as_table, escape, width, write


def test_a_subject_cannot_move_the_cursor_or_turn_the_text_around() -> None:
    hostile = "/CN=Eve\x1b[2J\r\n\x9b\u202egnp\u2028\x00\x7f"

    assert escape(hostile) == r"/CN=Eve\x1b[2J\x0d\x0a\x9b\u202egnp\u2028\x00\x7f"


def test_a_byte_that_was_not_utf8_is_shown_as_that_byte() -> None:
    assert escape(b"/CN=J\xf6rg".decode("utf-8", "surrogateescape")) == r"/CN=J\xf6rg"


def test_a_name_in_any_script_is_left_as_it_is() -> None:
    assert escape("/CN=Jörg Müller/CN=王小明") == "/CN=Jörg Müller/CN=王小明"


def test_one_person_is_one_line_of_the_table() -> None:
    table = as_table([["/CN=a\nb", 5], ["/CN=c", 12]], ["subject", "cpu_seconds"])

    assert table == "SUBJECT     CPU SECONDS\n/CN=a\\x0ab            5\n/CN=c                12\n"


def test_columns_stay_aligned_behind_wide_and_combining_letters() -> None:
    lines = as_table([["王小明", "x"], ["Jo\u0308rg", "y"]], ["who", "job"]).splitlines()

    assert [width(line[:-1]) for line in lines[1:]] == [8, 8]


def test_a_cell_that_is_not_known_is_empty_and_a_truth_is_spelled_as_in_yaml() -> None:
    assert as_table([[None, True], ["x", False]], ["a", "b"]) == "A  B\n   true\nx  false\n"


def test_no_answer_is_still_a_table_with_its_heading() -> None:
    assert as_table([], ["a", "b"]) == "A  B\n"


def test_a_row_too_wide_for_the_terminal_is_read_line_by_line() -> None:
    text = as_blocks([["cms001", "/CN=a\nb", None], ["cms002", "/CN=c", 5]], ["account", "subject", "cpu_seconds"])

    assert text == (
        "account      cms001\nsubject      /CN=a\\x0ab\n\naccount      cms002\nsubject      /CN=c\ncpu seconds  5\n"
    )


def test_csv_comes_back_as_it_went_in() -> None:
    row = ['/CN="x", y', 3, None]

    assert list(csv.reader(io.StringIO(as_csv([row], ["a", "b", "c"])))) == [["a", "b", "c"], ['/CN="x", y', "3", ""]]


def test_json_has_every_column_in_order_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    write([{"b": 1, "a": "ö\x1b", "secret": 1}], ["a", "b", "c"], "json")

    text = capsys.readouterr().out
    assert json.loads(text) == [{"a": "ö\x1b", "b": 1, "c": None}]
    assert text.index('"a"') < text.index('"b"') < text.index('"c"')
    assert text.isascii()
