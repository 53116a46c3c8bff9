"""The page of docs/ that shows what bench/pbs_lines.py measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("pbs_lines", "Reading PBS accounting logs", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    yield (
        f"gridwarden and a floor in turn in one process, Python {result['python']}, {result['rounds']} rounds of "
        f"{result['lines']} E records of OpenPBS, lines a second of CPU time, medians. The floor splits a line at `;`, blanks "
        "and `=` and makes a dictionary of its fields, which no program that has them all does without. gridwarden "
        "makes a job of it: times, amounts and node names out of text, values out of quotes. It keeps the record's own words, "
        "and so all fields. A record as OpenPBS or Torque write it is matched whole; any other is taken apart field "
        "by field, and refused if a key stands twice. The budget is 0.6 of the floor."
    )
    yield ""
    yield "| records | floor | gridwarden | of the floor |"
    yield "|---|---|---|---|"
    for one in result["rows"]:
        yield f"| {one['what']} | {one['floor']} | {one['ours']} | {one['ratio']:.2f} |"
