"""Rows of an answer as an aligned table, JSON or CSV: one way for every command that lists.

Cells hold what strangers chose (subjects, command names): the table and CSV escape whatever could
move a terminal's cursor or turn its text around; JSON is plain ASCII.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Function = TypeVar("Function", bound="Callable[..., Any]")
FORMATS = ("table", "json", "csv")


def format_option(function: Function) -> Function:
    """Give a click command the option ``--format table|json|csv`` (parameter ``format``)."""
    return click.option(
        "--format",
        "format",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="How to print the answer.",
    )(function)


def write(rows: Iterable[Mapping[str, object]], columns: Sequence[str], format: str) -> None:  # noqa: A002  named as the option
    """Print ``rows`` to standard output in ``format``, with ``columns`` in that order.

    On a terminal too narrow for the table each row becomes a block of lines.  JSON is one list of objects whose keys are the columns; None is ``null``, and an empty cell elsewhere.
    """
    chosen = [[row.get(column) for column in columns] for row in rows]
    if format == "json":
        text = json.dumps([dict(zip(columns, cells, strict=True)) for cells in chosen], indent=1, default=str) + "\n"
    elif format == "csv":
        text = as_csv(chosen, columns)
    else:
        text = as_table(chosen, columns)
        if sys.stdout.isatty() and max(map(width, text.splitlines())) > shutil.get_terminal_size().columns:
            text = as_blocks(chosen, columns)
    click.echo(text, nl=False)


def as_csv(rows: list[list[object]], columns: Sequence[str]) -> str:
    """Return rows under a heading as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell_text(cell) for cell in row] for row in rows)
    return stream.getvalue()


def as_table(rows: list[list[object]], columns: Sequence[str]) -> str:
    """Return rows as columns two spaces apart under upper-case headings; columns of numbers to the right."""
    table = [[column.upper().replace("_", " ") for column in columns]]
    table += [[cell_text(cell) for cell in row] for row in rows]
    widths = [max(width(line[index]) for line in table) for index in range(len(columns))]
    numeric = [
        any(row[index] is not None for row in rows)
        and all(is_number(row[index]) for row in rows if row[index] is not None)
        for index in range(len(columns))
    ]
    lines = []
    for line in table:
        cells = []
        for text, wide, right in zip(line, widths, numeric, strict=True):
            padding = " " * (wide - width(text))
            cells.append(padding + text if right else text + padding)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def as_blocks(rows: list[list[object]], columns: Sequence[str]) -> str:
    """Return each row as lines ``column  value``, without what is empty, and an empty line between rows."""
    names = [column.replace("_", " ") for column in columns]
    widest = max(map(len, names))
    blocks = []
    for row in rows:
        cells = zip(names, map(cell_text, row), strict=True)
        blocks.append("".join(f"{name:<{widest}}  {text}\n" for name, text in cells if text))
    return "\n".join(blocks)


def is_number(value: object) -> bool:
    """Return whether a cell is an amount; Python counts truths as numbers, people do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell_text(value: object) -> str:
    """Return a cell as one line of text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else escape(str(value))


def escape(text: str) -> str:
    r"""Return ``text`` with whatever is not printable as ``\xHH``, ``\uHHHH`` or ``\UHHHHHHHH``.

    That covers control bytes, line breaks, bytes that were not UTF-8 (surrogate escapes) and the
    characters that change the direction of text.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else escaped(c) for c in text)


def escaped(character: str) -> str:
    r"""Return one unprintable character as its escape; a byte that was not UTF-8 as that byte."""
    point = ord(character)
    if 0xDC80 <= point <= 0xDCFF:  # PEP 383: the byte 0x80..0xFF
        point -= 0xDC00
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def width(text: str) -> int:
    """Return how many terminal columns a printable text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
