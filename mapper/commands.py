"""``gridwarden map``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
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


def site_values(path: Path) -> SiteValues:
    """The mapper's part of the configuration; raises ConfigurationError."""
    from gridwarden.load_settings import load
    from gridwarden.mapper.site import from_settings

    return from_settings(load(path))
