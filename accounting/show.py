"""Answers and reports as a person reads them.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import times

if TYPE_CHECKING:
    from datetime import tzinfo

    from gridwarden.accounting.answers import Answer
    from gridwarden.accounting.report import Report


def cpu_text(microseconds: int) -> str:
    """Return a CPU time as ``[-]HOURS:MM:SS.mmm``, rounded to the nearest millisecond."""
    sign = "-" if microseconds < 0 else ""
    seconds, milliseconds = divmod((abs(microseconds) + 500) // 1000, 1000)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


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
    return notes


def bars(report: Report, names: tuple[str, ...]) -> list[tuple[str, int, str]]:
    """Return a bar (label, value, value as text) for each row of a report over these names."""
    labels = [" ".join(filter(None, (getattr(row, name) for name in names))) or row.row for row in report.rows]
    return [(label, row.cpu, cpu_text(row.cpu)) for label, row in zip(labels, report.rows, strict=True)]
