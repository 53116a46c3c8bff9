"""The commands ``gridwarden report`` and ``whoran``: options in, rows out."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from gridwarden import load_settings, output, times
from gridwarden.accounting import show
from gridwarden.errors import BadQuestion
from gridwarden.local_zone import system_zone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


# SQLAlchemy takes longer to load than whoran to answer, so each command imports its own part.


@click.command("report")
@click.option("--since", metavar="TIME", help="Jobs that ended at this time or later; always needed but for --explain.")
@click.option("--until", metavar="TIME", default="now", show_default=True, help="Jobs that ended before this time.")
@click.option(
    "--by",
    type=click.Choice(("identity", "vo", "fqan", "account", "node", "queue", "month")),
    multiple=True,
    help="Add up over this, or each combination of several; without it, of identity, vo and account.",
)
@click.option("--chart", is_flag=True, help="Draw bars for the terminal instead of a table.")
@click.option("--pilots", is_flag=True, help="Instead, of each pilot: how much of its CPU time payload records cover.")
@click.option("--explain", metavar="JOB", help="Instead, how this job's CPU time was divided, step by step.")
@output.format_option
@click.pass_obj
def report_command(
    config: Path,
    since: str | None,
    until: str,
    by: tuple[str, ...],
    chart: bool,
    pilots: bool,
    explain: str | None,
    format: str,
) -> None:
    """Say how much CPU time each identity used, by the jobs that ended in a time.

    What the kernel measured of a pilot's payloads is their owners', the rest the pilot's. The parts, what could not
    be attributed, and a signed difference to what the batch system counted add up to its total exactly, in
    microseconds. Times are read as by whoran.

    \b
    Examples:
      gridwarden report --since 2026-11-01
      gridwarden report --since -2h --chart
      gridwarden report --since 2026-10-01 --until 2026-11-01 --by vo --format csv
      gridwarden report --since 2026-01-01 --by month --by vo
      gridwarden report --since -7d --pilots
      gridwarden report --explain 4711
    """
    from gridwarden.accounting import job_views
    from gridwarden.accounting.chart import draw
    from gridwarden.accounting.report import BY, report
    from gridwarden.accounting.store import open_to_read

    if chart and format != "table":
        raise BadQuestion("--chart draws for a terminal", f"leave --chart or --format {format} away")
    _refuse_together({"--explain": explain, "--pilots": pilots, "--by": by, "--chart": chart})
    settings = load_settings.load(config)
    now, zone = _now(), system_zone()
    if explain is not None:
        if since is not None:
            raise BadQuestion("--explain shows every run of a job, whenever it was", "leave --since away")
        job_views.explain_job(settings, explain, zone, format)
        return
    if since is None:
        raise BadQuestion("a report needs --since", "say from when: --since 2026-11-01, --since -2h")
    within = times.ordered(
        times.parse_instant(since, now=now, zone=zone, date_alone=True),
        times.parse_instant(until, now=now, zone=zone, date_alone=True),
        zone,
    )
    if pilots:
        job_views.list_pilots(settings, within, format)
        return
    names = tuple(dict.fromkeys(by)) or BY
    found = report(open_to_read(settings.store), within, names, zone)
    for note in show.report_notes(found, within, zone):
        _note("gridwarden", note)
    if chart:
        plain = not (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo("\n".join(draw(show.bars(found, names), shutil.get_terminal_size().columns, plain=plain)))
        return
    rows = [{**row._asdict(), "batch_cpu": row.batch} for row in found.rows]
    columns = ("row", *names, "jobs", "cpu", "evidence", "payloads", "batch_cpu", "wall_cores")
    output.write(*show.cpu_cells(rows, columns, as_text=format == "table"), format)


def _refuse_together(given: Mapping[str, object]) -> None:
    """Refuse options that ask for different things; --by and --chart go together."""
    named = [name for name, value in given.items() if value]
    if len(named) > 1 and named != ["--by", "--chart"]:
        raise BadQuestion(f"{' and '.join(named)} ask for different things", "ask one after the other")


def _note(program: str, text: str) -> None:
    click.echo(f"{program}: {output.escape(text)}", err=True)


def _now() -> int:
    return time.time_ns() // 1000
