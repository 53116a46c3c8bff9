"""The command ``whoran``: options in, answers out."""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden import ledger, load_settings, output, syslog_line
from gridwarden.accounting import show
from gridwarden.errors import BadQuestion, GridwardenError
from gridwarden.local_zone import system_zone

if TYPE_CHECKING:
    from datetime import tzinfo

    from gridwarden.accounting.answers import Answer
    from gridwarden.settings import Settings

# SQLAlchemy takes longer to load than whoran to answer, so whoran imports its own part.

ANSWER_COLUMNS = (
    "evidence", "identity", "vo", "account", "job", "node", "cluster", "pid", "since", "until", "because",
)  # fmt: skip
# What a program needs besides, to tell identities of two schemes and jobs of two batch systems apart.
ANSWER_FIELDS = (*ANSWER_COLUMNS, "scheme", "batch", "lease")


@click.command("whoran", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[PID|PID@TIME|TIME|FROM..TO]", type=click.UNPROCESSED)
@click.option("--node", metavar="PATTERN", help="Only this node, or those that match: 'wn0*'.")
@click.option("--account", metavar="PATTERN", help="Only this account, or those that match: 'cms*'.")
@click.option("--identity", metavar="TEXT", help="Only identities that contain this, in any case.")
@click.option("--job", metavar="ID", help="Only this job.")
@click.option("--children", is_flag=True, help="With a pid: its descendants, too, living or gone.")
@click.option("--uid", type=click.IntRange(0), metavar="UID", help="Only the account that has this uid here.")
@click.option("--session", type=click.IntRange(1), metavar="ID", help="The processes of this session or process group.")
@click.option("--cgroup", metavar="PATH", help="The job, payload or account that this control group is of.")
@click.option("--report", is_flag=True, help="Print an incident sheet of the answers instead.")
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
    uid: int | None,
    session: int | None,
    cgroup: str | None,
    report: bool,
    format: str,
    config: Path,
) -> None:
    """Say who was behind a process, or who ran at a time: which identity, account and job, and how that is known.

    PID is a process of this machine, living or gone, PID@TIME the one that had it then. TIME is 14:02, 'yesterday
    14:00', -2h, now, @1795270920 or 2026-11-21T14:02+01:00; one that can be read in two ways is refused. Exit code 0:
    found, 1: nothing is known, 2: the question is not clear.

    \b
    Examples:
      whoran 12345
      whoran 12345@14:02 --children
      whoran 14:02
      whoran --node wn042 14:00..15:00
      whoran --identity 'anna example' -2h..now --format json
      whoran --report --node wn042 14:02
    """
    from gridwarden.accounting.living import Node, no_slot_account
    from gridwarden.accounting.past import Past
    from gridwarden.accounting.question import ask
    from gridwarden.accounting.whoran import whoran

    if report and format != "table":
        raise BadQuestion("--report is written for people", f"leave --report or --format {format} away")
    for word in words:
        if word.startswith("--"):
            raise click.NoSuchOption(word)
    now, zone = _now(), system_zone()
    job, account = _pointed_at(job, account, uid, cgroup)
    asked = ask(
        " ".join(words) if words else None,
        now=now,
        zone=zone,
        node=node,
        account=account,
        identity=identity,
        job=job,
        children=children,
        session=session,
    )
    settings = load_settings.load(config)
    slot_account = settings.accounting.slot_account if settings.accounting.slot_accounts else no_slot_account
    here = Node(
        settings.holders_directory, settings.register_directory, settings.slurm.spool, settings.pools, slot_account
    )
    past = Past(settings.store, settings.ledger_directory)
    answers, notes = whoran(asked, here, past)
    question = shlex.join(sys.argv[1:])
    if report and answers:
        from gridwarden.accounting import incident

        found = incident.sheet(answers, notes, here, past, now)
        click.echo("\n".join(incident.lines(found, f"whoran {question}", now, zone)))
        notes = []  # they stand on the sheet
    else:
        _write(answers, format, zone)
    notes += _record_question(settings, question, len(answers))
    for note in notes:
        _note(note)
    if not any(answer.account for answer in answers):
        if not answers and asked.pid is None:  # of a pid it is said what is known
            _note("nothing is known of that")
        raise click.exceptions.Exit(1)


def _write(answers: list[Answer], format: str, zone: tzinfo) -> None:
    table = format == "table"
    if answers or not table:
        cells = [show.answer_cells(answer, zone, to_the_second=table) for answer in answers]
        output.write(cells, ANSWER_COLUMNS if table else ANSWER_FIELDS, format)


def _pointed_at(
    job: str | None, account: str | None, uid: int | None, cgroup: str | None
) -> tuple[str | None, str | None]:
    """Return the job and the account that are asked about, be it by a uid or a control group."""
    if cgroup is not None:
        from gridwarden.accounting.question import of_cgroup

        if job is not None or uid is not None:
            raise BadQuestion("--cgroup names a job or an account itself", "leave --job and --uid away")
        job, uid = of_cgroup(cgroup)
    if uid is None:
        return job, account
    if account is not None:
        raise BadQuestion("--uid and --account both name an account", "leave one away")
    return job, _account_of(uid)


def _account_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        message = f"no account of this machine has the uid {uid}"
        raise BadQuestion(message, "ask by its name, with --account, or on a machine that has it") from None


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


def _note(text: str) -> None:
    click.echo(f"whoran: {output.escape(text)}", err=True)


def _now() -> int:
    return time.time_ns() // 1000
