"""``gridwarden-prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden import __version__, node_file
from gridwarden.options import node_file_option
from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.prune.report import Report

UNKNOWN_TO_NAGIOS = 3


@click.command("gridwarden-prune")
@click.option("--dry-run", is_flag=True, help="Only report, also where prune.kill is on.")
@click.option(
    "--explain",
    "pid",
    type=click.IntRange(1),
    metavar="PID",
    help="Say why this process would live or die; do nothing.",
)
@click.option("--all", "everything", is_flag=True, help="List the processes that are spared as well, each with why.")
@click.option("--nagios", is_flag=True, help="Print one line, and exit with 0, 1, 2 or 3, as Nagios plug-ins do.")
@format_option
@node_file_option("What gridwarden config install wrote of site.yaml.")
@click.version_option(__version__, prog_name="gridwarden-prune")
@click.pass_context
def prune_command(
    context: click.Context,
    dry_run: bool,
    pid: int | None,
    everything: bool,
    nagios: bool,
    format: str,
    node_path: Path,
) -> None:
    """Kill every process of the pool accounts that no live job on this machine accounts for, and remove their files.

    Only reports until the site sets prune.kill. When a batch system of the node does not say which jobs run, nothing is
    killed. Exit code 0: nothing is left to do, 1: something is, 75: it cannot be told what runs here.

    \b
    Examples:
      gridwarden-prune
      gridwarden-prune --all
      gridwarden-prune --explain 12345
      gridwarden-prune --dry-run --nagios
      gridwarden-prune --format json
    """
    from gridwarden.errors import GridwardenError
    from gridwarden.prune.run import prune

    if pid is not None and nagios:
        raise click.UsageError("--explain answers a person, --nagios a program: give one of them")
    if pid is not None:
        explain(pid, node_path, format)
        return
    try:
        report = prune(node_file.read(node_path), dry_run=dry_run)
    except (GridwardenError, OSError) as error:
        if not nagios:
            raise
        click.echo(f"GRIDWARDEN-PRUNE UNKNOWN - {escape(' '.join(str(error).split())).replace('|', '/')}")
        context.exit(UNKNOWN_TO_NAGIOS)
    if nagios:
        line, code = report.nagios()
        click.echo(escape(line))
    else:
        show(report, format, everything=everything, dry_run=dry_run)
        code = report.exit_code()
    context.exit(code)


def explain(pid: int, path: Path, format: str) -> None:
    """Print every fact about one process that the judge used."""
    import time

    from gridwarden.prune.explain import explain as explain_process
    from gridwarden.prune.machine import Machine
    from gridwarden.prune.run import DEFAULT_SECONDS, refuse_others_than_root

    refuse_others_than_root()
    machine = Machine(node_file.read(path), time.monotonic() + DEFAULT_SECONDS)
    sight = machine.look()
    facts = explain_process(pid, sight.snapshot, sight.answers, machine.rules, machine.site)
    write([{"about": about, "fact": fact} for about, fact in facts], ["about", "fact"], format)


def show(report: Report, format: str, *, everything: bool, dry_run: bool = False) -> None:
    """Print the rows, and to people a sentence where there is something to say, or who asked is looking on."""
    import sys

    from gridwarden import off
    from gridwarden.prune.report import COLUMNS, SHOWN, SPARED

    rows = [row for row in report.rows if everything or row["action"] != SPARED]
    if rows or format != "table":
        write(rows, COLUMNS[:SHOWN] if format == "table" else COLUMNS, format)
    if format == "table" and (rows or report.unknown or everything or sys.stderr.isatty()):
        switched = off.switch(off.PRUNE)
        reports = f"{switched}: this only reports" if switched else "prune.kill is off: this only reports"
        why = "--dry-run: nothing was done" if dry_run else reports
        mode = "" if report.acts else f" ({why})"
        click.echo(f"gridwarden-prune: {escape(report.summary() + mode)}", err=True)
