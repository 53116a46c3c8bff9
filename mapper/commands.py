"""``gridwarden map`` and ``gridwarden ban``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from gridwarden.mapper.ban_changes import Change
    from gridwarden.mapper.site import SiteValues

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command("map")
@click.option(
    "--proxy",
    required=True,
    type=click.Path(path_type=Path),
    help="PEM file with the proxy, its key and its chain; under sudo it is read as whoever ran sudo.",
)
@click.option("--explain", is_flag=True, help="Say each step of the decision on standard error.")
@click.option(
    "--slot",
    type=click.IntRange(min=1),
    metavar="K",
    help="Take the account of the identity's Kth job slot; `leases.slots` says how many there are.",
)
@dry_run_option
@format_option
@click.pass_obj
def map_command(path: Path, proxy: Path, explain: bool, slot: int | None, dry_run: bool, format: str) -> None:
    """Print the account of whose proxy this is, and lend them one if they have none.

    Exit code 77 when they are refused, with the reason; nothing is mapped then.

    \b
    Examples:
      gridwarden map --proxy /tmp/x509up_u1000
      gridwarden map --proxy proxy.pem --explain --dry-run
      gridwarden map --proxy proxy.pem --format json
      gridwarden map --proxy proxy.pem --slot 2
    """
    from gridwarden.mapper.mapping import foresee, map_proxy

    site = site_values(path)
    steps: list[str] = []
    try:
        if dry_run:
            account, subject = foresee(proxy, site, steps.append, slot or 0)
            steps.append(f"{subject} would have {account or 'one of the free accounts'}; nothing was done")
            return
        lease = map_proxy(proxy, site, slot=slot or 0, explain=steps)
    finally:
        if explain or dry_run:
            for step in steps:
                click.echo(escape(step), err=True)
    if format == "table":
        click.echo(lease.account)
        return
    row = {**lease._asdict(), "lease": lease.lease_id}
    write([row], ["account", "uid", "gid", "lease", "scheme", "subject"], format)


@click.group("ban")
def ban_group() -> None:
    """Keep people out, by patterns of their DN or of any of their FQANs.

    A ban holds from the next decision on: mapping, submission, or start of a job.

    \b
    Examples:
      gridwarden ban add '/DC=org/DC=example/CN=Eve Example' --because 'stolen key'
      gridwarden ban list
      gridwarden ban remove '/DC=org/DC=example/CN=Eve Example'
    """


@ban_group.command("add")
@click.argument("pattern")
@click.option("--because", required=True, metavar="TEXT", help="Why, for whoever reads the ban later.")
@dry_run_option
@click.pass_obj
def add_command(path: Path, pattern: str, because: str, dry_run: bool) -> None:
    """Ban everybody whose DN or any FQAN matches PATTERN, in which * crosses /.

    \b
    Examples:
      gridwarden ban add '/DC=org/DC=example/CN=Eve Example' --because 'stolen key'
      gridwarden ban add '/cms/Role=pilot' --because 'incident 17' --dry-run
    """
    from gridwarden.mapper import ban_changes

    site = site_values(path)
    change = ban_changes.add(pattern, because, site, dry_run=dry_run)
    done = ("would be banned" if dry_run else "banned") if change.changed else "is banned already"
    tell(f"{pattern} {done}", change, "banned")
    if fixed := sorted({rule.account for rule in site.rules if rule.account}):
        click.echo(f"jobs queued under {', '.join(fixed)} are not stopped: several people share these accounts")


@ban_group.command("remove")
@click.argument("pattern")
@dry_run_option
@click.pass_obj
def remove_command(path: Path, pattern: str, dry_run: bool) -> None:
    """Take the ban PATTERN away, as it is written in the first ban file.

    \b
    Examples:
      gridwarden ban remove '/DC=org/DC=example/CN=Eve Example'
    """
    from gridwarden.mapper import ban_changes

    change = ban_changes.remove(pattern, site_values(path), dry_run=dry_run)
    tell(f"{pattern} {'would be removed' if dry_run else 'removed'}", change, "free again")


@ban_group.command("list")
@format_option
@click.pass_obj
def list_command(path: Path, format: str) -> None:
    """List the patterns of every ban file, why, and the accounts whose holders they match.

    \b
    Examples:
      gridwarden ban list
      gridwarden ban list --format json
    """
    from gridwarden.mapper import ban_changes

    write(ban_changes.listing(site_values(path)), ["pattern", "because", "accounts", "file", "line"], format)


def tell(done: str, change: Change, verdict: str) -> None:
    """Say what a change of the bans did, and whom it hit."""
    jobs = sum(marked.jobs for marked in change.marked)
    click.echo(f"{escape(done)}; holders on this machine: {len(change.marked)}, their jobs running here: {jobs}")
    for holder, running in change.marked:
        click.echo(f"  {holder.account}  {escape(holder.subject)}  {verdict}, jobs running here: {running}")
    for account in change.unreadable:
        click.echo(f"  {account}  its holder file cannot be trusted, so hooks refuse it", err=True)


def site_values(path: Path) -> SiteValues:
    """The mapper's part of the configuration; raises ConfigurationError."""
    from gridwarden.load_settings import load
    from gridwarden.mapper.site import from_settings

    return from_settings(load(path))
