"""The commands ``gridwarden report`` and ``whoran``: options in, rows out."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden import ledger, load_settings, output, syslog_line, times
from gridwarden.accounting import show
from gridwarden.errors import BadQuestion, GridwardenError
from gridwarden.local_zone import system_zone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridwarden.settings import Settings

# SQLAlchemy takes longer to load than whoran to answer, so each command imports its own part.

ANSWER_COLUMNS = (
    "evidence", "identity", "vo", "account", "job", "node", "cluster", "pid", "since", "until", "because",
)  # fmt: skip
# What a program needs besides, to tell identities of two schemes and jobs of two batch systems apart.
ANSWER_FIELDS = (*ANSWER_COLUMNS, "scheme", "batch")


@click.command("report")
@click.option("--since", metavar="TIME", help="Jobs that ended at this time or later; always needed but for --explain.")
@click.option("--until", metavar="TIME", default="now", show_default=True, help="Jobs that ended before this time.")
@click.option(
    "--by",
    type=click.Choice(("identity", "vo", "account")),
    help="Add up over one of these, not over each combination.",
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
    by: str | None,
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
    names = (by,) if by else BY
    found = report(open_to_read(settings.store), within, names)
    for note in show.report_notes(found, within, zone):
        _note("gridwarden", note)
    if chart:
        plain = not (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo("\n".join(draw(show.bars(found, names), shutil.get_terminal_size().columns, plain=plain)))
        return
    rows = [{**row._asdict(), "batch_cpu": row.batch} for row in found.rows]
    columns = ("row", *names, "jobs", "cpu", "evidence", "payloads", "batch_cpu")
    output.write(*show.cpu_cells(rows, columns, as_text=format == "table"), format)


def _refuse_together(given: Mapping[str, object]) -> None:
    """Refuse options that ask for different things; --by and --chart go together."""
    named = [name for name, value in given.items() if value]
    if len(named) > 1 and named != ["--by", "--chart"]:
        raise BadQuestion(f"{' and '.join(named)} ask for different things", "ask one after the other")


@click.command("whoran", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[PID|PID@TIME|TIME|FROM..TO]", type=click.UNPROCESSED)
@click.option("--node", metavar="PATTERN", help="Only this node, or those that match: 'wn0*'.")
@click.option("--account", metavar="PATTERN", help="Only this account, or those that match: 'cms*'.")
@click.option("--identity", metavar="TEXT", help="Only identities that contain this, in any case.")
@click.option("--job", metavar="ID", help="Only this job.")
@click.option("--children", is_flag=True, help="With a pid: its descendants, too, living or gone.")
@output.format_option
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/gridwarden/site.yaml"),
    envvar="GRIDWARDEN_CONFIG",
    show_default=True,
    help="The site's configuration.",
)
def whoran_command(
    words: tuple[str, ...],
    node: str | None,
    account: str | None,
    identity: str | None,
    job: str | None,
    children: bool,
    format: str,
    config: Path,
) -> None:
    """Say who was behind a process, or who ran at a time: which identity, account and job, and how that is known.

    PID is a process of this machine, living or gone, PID@TIME the one that had it then. TIME is 14:02, 'yesterday 14:00', -2h, now, @1795270920 or
    2026-11-21T14:02+01:00; one that can be read in two ways is refused. Exit code 0: found, 1: nothing is
    known, 2: the question is not clear.

    \b
    Examples:
      whoran 12345
      whoran 12345@14:02 --children
      whoran 14:02
      whoran --node wn042 14:00..15:00
      whoran --identity 'anna example' -2h..now --format json
    """
    from gridwarden.accounting.past import Past
    from gridwarden.accounting.question import ask
    from gridwarden.accounting.whoran import Node, whoran

    for word in words:
        if word.startswith("--"):
            raise click.NoSuchOption(word)
    now, zone = _now(), system_zone()
    asked = ask(
        " ".join(words) if words else None,
        now=now,
        zone=zone,
        node=node,
        account=account,
        identity=identity,
        job=job,
        children=children,
    )
    settings = load_settings.load(config)
    here = Node(settings.holders_directory, settings.register_directory, settings.slurm.spool, settings.pools)
    past = Past(settings.store, settings.ledger_directory)
    answers, notes = whoran(asked, here, past)
    if format != "table":
        output.write([show.answer_cells(answer, zone) for answer in answers], ANSWER_FIELDS, format)
    elif answers:
        cells = [show.answer_cells(answer, zone, to_the_second=True) for answer in answers]
        output.write(cells, ANSWER_COLUMNS, format)
    notes += _record_question(settings, shlex.join(sys.argv[1:]), len(answers))
    for note in notes:
        _note("whoran", note)
    if not any(answer.account for answer in answers):
        if not answers:
            _note("whoran", "nothing is known of that")
        raise click.exceptions.Exit(1)


def _record_question(settings: Settings, text: str, answered: int) -> list[str]:
    """Record who asked what, where the asker is root; return a note when that could not be done.

    Nobody else can write evidence; who asks without being root sees only what anybody may read.
    """
    if os.geteuid() != 0 or not settings.ledger_directory.exists():
        return []
    who = os.environ.get("SUDO_USER") or getpass.getuser()
    fields: dict[str, str | int | None] = {"who": who[:64], "text": text[:1024], "answered": answered}
    try:
        seq, head = ledger.append(
            settings.ledger_directory, "question", fields, node=os.uname().nodename, cluster=settings.slurm.cluster
        )
    except GridwardenError as error:
        return [f"this question was not recorded: {error}"]
    syslog_line.decision("question", "answered", **fields, seq=seq, head=head)
    return []


def _note(program: str, text: str) -> None:
    click.echo(f"{program}: {output.escape(text)}", err=True)


def _now() -> int:
    return time.time_ns() // 1000
