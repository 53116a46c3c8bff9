"""``gridwarden ban``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gridwarden.mapper.commands import dry_run_option, site_values
from gridwarden.options import Group
from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


COLUMNS = ["pattern", "because", "author", "from", "until", "state", "accounts", "file", "line"]


def conditions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each condition that a ban can have."""
    for name, metavar, text in reversed(
        [
            ("--vo", "VO", "Everybody of this VO."),
            (
                "--issuer",
                "ISSUER",
                "Whom this one vouches for: a token's issuer, a CA's DN, a Globus provider's domain.",
            ),
            ("--subject", "SUBJECT", "Exactly this subject; give a token's --issuer too."),
            ("--jti", "ID", "The token of this id, as records name it behind jti=."),
            ("--serial", "HEX", "The person's certificate of this serial number; give --issuer too."),
            ("--account", "ACCOUNT", "Whoever would use this local account."),
        ]
    ):
        command = click.option(name, metavar=metavar, help=text)(command)
    return command


@click.group("ban", cls=Group)
def ban_group() -> None:
    """Keep people out: by DN, FQAN, VO, issuer, subject, token, certificate or account.

    A ban holds from the next decision on: mapping, submission, or start of a job.

    \b
    Examples:
      gridwarden ban add '/DC=org/DC=example/CN=Eve Example' --because 'stolen key'
      gridwarden ban check '/DC=org/DC=example/CN=Eve Example'
      gridwarden ban list
      gridwarden ban remove '/DC=org/DC=example/CN=Eve Example'
    """


@ban_group.command("add")
@click.argument("pattern", required=False)
@conditions
@click.option("--because", required=True, metavar="TEXT", help="Why, for whoever reads the ban later.")
@click.option("--from", "start", metavar="TIME", default="", help="When it begins to hold, as --until; else now.")
@click.option(
    "--until", metavar="TIME", default="", help="When it ends: +90m, +12h, +7d, or UTC such as 2026-12-01T00:00:00Z."
)
@click.option("--now", "at_once", is_flag=True, help="Stop their pending and running jobs of Slurm's, too.")
@click.option("--hold", is_flag=True, help="Keep their leases, and what they left on this machine, as evidence.")
@dry_run_option
@click.pass_obj
def add_command(
    path: Path,
    /,
    pattern: str | None,
    because: str,
    start: str,
    until: str,
    at_once: bool,
    hold: bool,
    dry_run: bool,
    **whom: str | None,
) -> None:
    """Ban who meets every condition given: a DN or any FQAN that matches PATTERN, in which * crosses /, and the options.

    A PATTERN alone is written to the first of `bans`, where LCMAPS can read it; all else to the first of `ban_lists`.
    With --now, all jobs of the accounts they hold are cancelled before the command ends. Their payloads inside pilots end by
    themselves within seconds of the ban files reaching the node, with or without --now.

    \b
    Examples:
      gridwarden ban add '/DC=org/DC=example/CN=Eve Example' --because 'stolen key'
      gridwarden ban add '/DC=org/DC=example/CN=Eve Example' --because 'stolen key' --now --hold
      gridwarden ban add '/cms/Role=pilot' --because 'incident 17' --until +12h --dry-run
      gridwarden ban add --issuer https://iam.example.org/ --subject 4f2c --because 'ticket 4711'
      gridwarden ban add --jti 9b1d --because 'token found in a public log' --until +7d
      gridwarden ban add --issuer '/DC=org/CN=Example CA' --serial 1A2B --because 'lost laptop'
      gridwarden ban add --account cms017 --because 'strange processes'
    """
    from gridwarden.errors import BadQuestion
    from gridwarden.mapper import ban_changes
    from gridwarden.mapper.ban import moment
    from gridwarden.mapper.ban_telling import follow_up, remark, shown, tell
    from gridwarden.mapper.ban_times import when

    site = site_values(path)
    given = {kind: value for kind, value in {"pattern": pattern, **whom}.items() if value is not None}
    begins = when(start)
    if (at_once or hold) and begins > moment():
        raise BadQuestion("--now and --hold are for a ban that holds from now on", "leave --from out")
    change = ban_changes.add(given, because, site, start=begins, end=when(until), dry_run=dry_run)
    done = ("would be banned" if dry_run else "banned") if change.changed else "is banned already"
    since = f" from {begins}" if begins > moment() else ""
    tell(f"{shown(given)} {done}{since}", change, "banned")
    try:
        follow_up(path, change, given, because, site, at_once=at_once, hold=hold, dry_run=dry_run)
    finally:
        remark(given, pattern or "", site)


@ban_group.command("remove")
@click.argument("pattern", required=False)
@conditions
@dry_run_option
@click.pass_obj
def remove_command(path: Path, /, pattern: str | None, dry_run: bool, **whom: str | None) -> None:
    """Take the ban of exactly these conditions away, from the files that `ban add` writes.

    \b
    Examples:
      gridwarden ban remove '/DC=org/DC=example/CN=Eve Example'
      gridwarden ban remove --issuer https://iam.example.org/ --subject 4f2c
    """
    from gridwarden.mapper import ban_changes
    from gridwarden.mapper.ban_telling import shown, tell

    given = {kind: value for kind, value in {"pattern": pattern, **whom}.items() if value is not None}
    change = ban_changes.remove(given, site_values(path), dry_run=dry_run)
    tell(f"{shown(given)} {'would be removed' if dry_run else 'removed'}", change, "free again")


@ban_group.command("list")
@format_option
@click.pass_obj
def list_command(path: Path, format: str) -> None:
    """List the bans of every file: whom, why, by whom, when, and the accounts whose holders here they match.

    \b
    Examples:
      gridwarden ban list
      gridwarden ban list --format json
    """
    from gridwarden.mapper import ban_changes

    write(ban_changes.listing(site_values(path)), COLUMNS, format)


@ban_group.command("check")
@click.argument("subject", required=False)
@click.option("--subject", "also", metavar="SUBJECT", default="", help="The same as SUBJECT, as `ban add` has it.")
@click.option(
    "--fqan", "fqans", multiple=True, metavar="FQAN", help="An FQAN that they would present; may be repeated."
)
@click.option("--issuer", default="", metavar="ISSUER", help="A token's issuer, where SUBJECT is its sub alone.")
@click.option("--vo", default="", metavar="VO", help="The VO that the issuer speaks for.")
@click.option("--jti", default="", metavar="ID", help="The token's id.")
@click.option("--serial", default="", metavar="HEX", help="Their certificate's serial number.")
@click.option("--ca", default="", metavar="DN", help="The DN of the authority that issued it.")
@click.option(
    "--account", default="", metavar="ACCOUNT", help="The account that they would use; alone: its holder here."
)
@format_option
@click.pass_context
def check_command(
    context: click.Context,
    /,
    subject: str | None,
    also: str,
    format: str,
    **asked: Any,  # noqa: ANN401 - texts, and --fqan's
) -> None:
    """Say whether somebody would be banned now, and by which bans; without any, whether the files can be read.

    Exit code 77 when they would be banned, 78 when a file cannot be relied on (everybody is refused then).

    \b
    Examples:
      gridwarden ban check
      gridwarden ban check '/DC=org/DC=example/CN=Eve Example' --fqan /cms --fqan /cms/Role=pilot
      gridwarden ban check https://iam.example.org/,4f2c
      gridwarden ban check --issuer https://iam.example.org/ --subject 4f2c
      gridwarden ban check --account cms017
    """
    from gridwarden.errors import BadQuestion, Refused
    from gridwarden.mapper import ban_check
    from gridwarden.mapper.ban_telling import warn_of_issuer

    if subject and also:
        raise BadQuestion("SUBJECT and --subject are the same: give one of them", "gridwarden ban check --help")
    subject = subject or also
    site = site_values(context.obj)
    if not subject and not any(asked.values()):
        write(ban_check.files(site), ["file", "bans", "in_force", "expired", "not_yet", "remarks"], format)
        return
    rows = ban_check.matching(subject or "", site, **asked)
    warn_of_issuer(asked["issuer"], site)
    write(rows, [column for column in COLUMNS if column != "accounts"], format)
    if any(row["state"] == "in force" for row in rows):
        context.exit(Refused.exit_code)
    click.echo("no ban in force is met", err=True)
    if subject and not any((subject.startswith("/"), "," in subject, asked["issuer"], asked["jti"])):
        click.echo(f"asked of a user or Globus identity {escape(subject)}: a token's owner is ISSUER,SUB", err=True)
