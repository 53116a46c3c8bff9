"""``gridwarden-prune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden import __version__, node_file
from gridwarden.output import format_option, write

if TYPE_CHECKING:
    from gridwarden.prune.report import Report

UNKNOWN_TO_NAGIOS = 3


@click.command("gridwarden-prune")
@click.option("--dry-run", is_flag=True, help="Only report, also where prune.kill is on.")
@click.option("--explain", "pid", type=int, metavar="PID", help="Say why this process would live or die; do nothing.")
@click.option("--all", "everything", is_flag=True, help="List the processes that are spared as well, each with why.")
@click.option("--nagios", is_flag=True, help="Print one line, and exit with 0, 1, 2 or 3, as Nagios plug-ins do.")
@format_option
@click.option(
    "--node-file",
    "node_path",
    type=click.Path(path_type=Path),
    default=Path(node_file.PATH),
    show_default=True,
    help="What gridwarden config install wrote of site.yaml.",
)
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

    if pid is not None:
        explain(pid, node_path, format)
        return
    try:
        report = prune(node_file.read(node_path), dry_run=dry_run)
    except (GridwardenError, OSError) as error:
        if not nagios:
            raise
        click.echo(f"GRIDWARDEN-PRUNE UNKNOWN - {' '.join(str(error).split())}")
        context.exit(UNKNOWN_TO_NAGIOS)
    if nagios:
        line, code = report.nagios()
        click.echo(line)
    else:
        show(report, format, everything=everything)
        code = report.exit_code()
    context.exit(code)


def explain(pid: int, path: Path, format: str) -> None:
    """Print every fact about one process that the judge used."""
    import time

    from gridwarden.prune.explain import explain as explain_process
    from gridwarden.prune.machine import Machine
    from gridwarden.prune.run import DEFAULT_SECONDS

    machine = Machine(node_file.read(path), time.monotonic() + DEFAULT_SECONDS)
    sight = machine.look()
    facts = explain_process(pid, sight.snapshot, sight.answers, machine.rules)
    write([{"about": about, "fact": fact} for about, fact in facts], ["about", "fact"], format)


def show(report: Report, format: str, *, everything: bool) -> None:
    """Print the rows, and to people a sentence where there is something to say."""
    from gridwarden.output import escape
    from gridwarden.prune.report import COLUMNS, SHOWN, SPARED

    rows = [row for row in report.rows if everything or row["action"] != SPARED]
    if rows or format != "table":
        write(rows, COLUMNS[:SHOWN] if format == "table" else COLUMNS, format)
    if (rows or report.unknown) and format == "table":
        mode = "" if report.acts else " (prune.kill is off: this only reports)"
        click.echo(f"gridwarden-prune: {escape(report.summary())}{mode}", err=True)
