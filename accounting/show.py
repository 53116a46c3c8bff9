"""Answers and reports as a person reads them.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import times

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.report import Report


def cpu_text(microseconds: int) -> str:
    """Return a CPU time as ``[-]HOURS:MM:SS.mmm``, rounded to the nearest millisecond."""
    sign = "-" if microseconds < 0 else ""
    seconds, milliseconds = divmod((abs(microseconds) + 500) // 1000, 1000)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


def cpu_cells(
    rows: Iterable[Mapping[str, object]], columns: tuple[str, ...], *, as_text: bool
) -> tuple[list[dict[str, object]], tuple[str, ...]]:
    """Return rows and columns with times (``cpu``, ``…_cpu``, ``wall_cores``) as text, or under names that say their unit."""
    measures = [column for column in columns if column in {"cpu", "wall_cores"} or column.endswith("_cpu")]
    found: list[dict[str, object]] = []
    for row in rows:
        cells = dict(row)
        for name in measures:
            value = cells[name]
            cells[_with_unit(name)] = value
            cells[name] = cpu_text(value) if isinstance(value, int) else None
        found.append(cells)
    return found, columns if as_text else tuple(_with_unit(name) if name in measures else name for name in columns)


def _with_unit(name: str) -> str:
    return f"{name}_microseconds"


def answer_cells(answer: Answer, zone: tzinfo, *, to_the_second: bool = False) -> dict[str, object]:
    """Return the cells of an answer by column, its times as ISO 8601 with their offset in the zone.

    To the second they are easier to read, and still find the answer when they are asked again.
    """
    cells = answer._asdict()
    for name in ("since", "until"):
        if (instant := cells[name]) is not None:
            shown = instant // times.MICROSECONDS * times.MICROSECONDS if to_the_second else instant
            cells[name] = times.format_instant(shown, zone)
    return cells


def report_notes(report: Report, within: times.Range, zone: tzinfo) -> list[str]:
    """Return what a reader of the rows must know: of when they are, and what they leave out."""
    begin, end = (times.format_instant(instant, zone) for instant in within)
    notes = [f"jobs that ended from {begin} to before {end}"]
    if report.unfinished:
        notes.append(f"not counted, since they had not ended when last collected: {report.unfinished} jobs")
    notes += [f"unattributed, since {reason}: {count} jobs" for reason, count in report.reasons.items()]
    notes += [f"outside of the jobs, since {because}: {count} payloads" for because, count in report.outside.items()]
    return notes


def bars(report: Report, names: tuple[str, ...]) -> list[tuple[str, int, str]]:
    """Return a bar (label, value, value as text) for each row of a report over these names.

    The total has none: beside it those of a year's months, or of a hundred people, would all look alike.
    """
    named = {"part", "outside"}  # the others' own words stand where nothing names them
    labels = [
        " ".join(filter(None, (getattr(row, name) for name in names)))
        or (f"no {' or '.join(names)}" if row.row in named else row.row)
        for row in report.rows
    ]
    marks = [
        f" ({row.row})" if row.row not in {"part", label} else ""
        for row, label in zip(report.rows, labels, strict=True)
    ]
    return [
        (label + mark, 0 if row.row == "total" else row.cpu, cpu_text(row.cpu))
        for label, mark, row in zip(labels, marks, report.rows, strict=True)
    ]
