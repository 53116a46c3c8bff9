"""``gridwarden lease``: list, show, release, check, recycle, answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gridwarden.options import Group
from gridwarden.output import as_blocks, format_option, write

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.mapper.release import Outcome
    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.terms import Terms
    from gridwarden.settings import Settings

COLUMNS = ["account", "pool", "state", "subject", "lease", "since", "last_use"]
OUTCOMES = ["account", "state", "lease", "why"]


@click.group("lease", cls=Group)
def lease_group() -> None:
    """See, check, end and recycle the leases of pool accounts.

    \b
    Examples:
      gridwarden lease list --pool cms
      gridwarden lease show cms017
      gridwarden lease check
      gridwarden lease release cms017 --because 'left the collaboration'
    """


@lease_group.command("list")
@click.option("--pool", metavar="PREFIX", help="Only the accounts of this pool.")
@format_option
@click.pass_obj
def list_command(path: Path, pool: str | None, format: str) -> None:
    """List every lease of the gridmapdir, whichever program made it, and every account that cools.

    A lease in state foreign was made by another program, so its subject is not proven; of one that gridwarden has
    never mapped only the name in lower case is known. Faulty: gridwarden lease check says why.

    \b
    Examples:
      gridwarden lease list
      gridwarden lease list --pool cms --format json
    """
    from gridwarden.errors import BadQuestion
    from gridwarden.hooks.lease_rows import everything, shown

    settings, site = loaded(path)
    if pool not in (None, *settings.pools):
        raise BadQuestion(f"{pool!r} is no pool of {path}", f"pools: {', '.join(settings.pools)}")
    _, found = everything(site, settings.pools)
    rows = [shown(row) for row in found if pool in (None, row.pool)]
    write(rows, COLUMNS if format == "table" else [*COLUMNS, "name"], format)


@lease_group.command("show")
@click.argument("which")
@format_option
@click.pass_obj
def show_command(path: Path, which: str, format: str) -> None:
    """Show all that is known of a lease: WHICH is an account, a DN, a lease id or a lease name.

    Exit code 2 when there is none.

    \b
    Examples:
      gridwarden lease show cms017
      gridwarden lease show '/DC=org/DC=example/CN=Jane Roe'
      gridwarden lease show 5d0c36e2a6b1418e9f2b7f7f1c7e9a01 --format json
    """
    from gridwarden.hooks.lease_rows import detailed, everything

    settings, site = loaded(path)
    details = detailed(which, *everything(site, settings.pools))
    columns = [*COLUMNS, "name", "scheme", "uid", "fqans", "verdict", "on_hold", "faults"]
    if format == "table":
        click.echo(as_blocks([[row.get(column) for column in columns] for row in details], columns), nl=False)
    else:
        write(details, columns, format)


@lease_group.command("check")
@click.option("--repair", is_flag=True, help="Carry out the repairs that are safe, each recorded.")
@format_option
@click.pass_context
def check_command(context: click.Context, repair: bool, format: str) -> None:
    """Find and explain everything that is not consistent; changes nothing without --repair.

    State repairable: --repair would do it without harm. Look: a person must decide. Known: usual where several
    programs share the directory. Exit code 1 when something is left to do.

    \b
    Examples:
      gridwarden lease check
      gridwarden lease check --repair
      gridwarden lease check --format json
    """
    from gridwarden.mapper import repair as repairs

    settings, site = loaded(context.obj)
    outcomes = repairs.check_directory(site, settings.pools, repair=repair)
    rows = [{**outcome.finding._asdict(), "state": outcome.state, "what": outcome.what} for outcome in outcomes]
    if rows or format != "table":
        write(rows, ["state", "kind", "account", "name", "detail", "what"], format)
    if not rows:
        click.echo("everything is consistent", err=True)
    if any(outcome.state not in (repairs.REPAIRED, repairs.KNOWN) for outcome in outcomes):
        context.exit(1)


@lease_group.command("release")
@click.argument("which")
@click.option("--because", required=True, metavar="TEXT", help="Why, for whoever reads the record later.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@format_option
@click.pass_obj
def release_command(path: Path, which: str, because: str, dry_run: bool, format: str) -> None:
    """End a lease: WHICH is an account, a DN, a lease id or a lease name. The account then cools.

    Exit code 75 when the account is still in use; nothing is released then.

    \b
    Examples:
      gridwarden lease release cms017 --because 'left the collaboration' --dry-run
      gridwarden lease release '/DC=org/DC=example/CN=Jane Roe' --because 'ticket 4711'
    """
    from gridwarden.errors import BadQuestion, Unavailable
    from gridwarden.hooks import handing_over
    from gridwarden.hooks.lease_rows import everything, some
    from gridwarden.mapper.ban_changes import who
    from gridwarden.mapper.release import BUSY

    settings, site = loaded(path)
    leases = some(which, everything(site, settings.pools)[1])
    if len(leases) > 1:
        named = ", ".join(row.account for row in leases)
        raise BadQuestion(f"{which} has {len(leases)} leases: {named}", "release them one by one, by account")
    which = leases[0].account or leases[0].name
    done = handing_over.release(which, because, who(), site, terms_of(settings), now, dry_run=dry_run)
    if done.state == BUSY:
        raise Unavailable(f"{done.account}: {done.why}", "nothing was released")
    write_outcomes([done], format)


@lease_group.command("recycle")
@click.option("--apply/--dry-run", "apply", help="Do it, or only say what would be done, which is the default here.")
@click.option("--cooled-only", is_flag=True, help="Release nothing; only free accounts that have cooled.")
@format_option
@click.pass_obj
def recycle_command(path: Path, apply: bool, cooled_only: bool, format: str) -> None:
    """Release leases that nobody used for leases.idle_days, and free accounts that have cooled; report only.

    It finds by itself what to take, so it does nothing until --apply; commands that are told whose lease, ban or pool it is
    do it at once, and --dry-run asks first.
    An account is freed when no job, process or file of its last holder is left on any node that the site names.

    \b
    Examples:
      gridwarden lease recycle
      gridwarden lease recycle --apply
      gridwarden lease recycle --apply --cooled-only
    """
    from gridwarden.hooks import handing_over
    from gridwarden.mapper.ban_changes import who

    settings, site = loaded(path)
    terms = terms_of(settings)
    if cooled_only:
        outcomes = handing_over.free(site, terms, now, dry_run=not apply)
    else:
        because = f"nobody used it for {settings.leases.idle_days} days"
        outcomes = handing_over.recycle(because, who(), site, terms, now, dry_run=not apply)
    write_outcomes(outcomes, format)


@lease_group.command("answer")
@format_option
@click.pass_obj
def answer_command(path: Path, format: str) -> None:
    """Empty what has cooled on this node, and answer whether anything of it is left here.

    For cron, on each node that leases.nodes names; an answer counts for leases.answer_hours.

    \b
    Examples:
      gridwarden lease answer
      gridwarden lease answer --format json
    """
    from gridwarden.hooks import handing_over

    settings, site = loaded(path)
    answers = handing_over.answer(site, terms_of(settings), now())
    rows = [{**answer._asdict(), "answer": "busy" if answer.why else "none"} for answer in answers]
    write(rows, ["account", "lease", "answer", "why"], format)


def write_outcomes(outcomes: list[Outcome], format: str) -> None:
    """Print what became of accounts."""
    rows = [{**outcome._asdict(), "account": outcome.account or outcome.name} for outcome in outcomes]
    if rows or format != "table":
        write(rows, OUTCOMES, format)
    if not rows:
        click.echo("nothing is idle, and nothing cools", err=True)


def loaded(path: Path) -> tuple[Settings, SiteValues]:
    """The configuration, and the mapper's part of it; raises ConfigurationError."""
    from gridwarden.load_settings import load
    from gridwarden.mapper.site import from_settings

    settings = load(path)
    return settings, from_settings(settings)


def terms_of(settings: Settings) -> Terms:
    """On what terms accounts are lent again."""
    from gridwarden.mapper import terms

    return terms.from_settings(settings)


def now() -> int:
    """The time in µs since the epoch."""
    return time.time_ns() // 1000
