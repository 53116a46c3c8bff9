"""``gridwarden store``: what is in the store, and its upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden import load_settings, syslog_line
from gridwarden.options import Group
from gridwarden.output import format_option, write

if TYPE_CHECKING:
    from pathlib import Path


@click.group("store", cls=Group)
def store_group() -> None:
    """See and keep up the store of collected records.

    \b
    Examples:
      gridwarden store status
      gridwarden store upgrade --dry-run
    """


@store_group.command("status")
@format_option
@click.pass_obj
def status_command(config: Path, format: str) -> None:
    """Say where the store is, how large, of which schema, and how far each source was collected.

    \b
    Examples:
      gridwarden store status
      gridwarden store status --format json
    """
    from gridwarden.accounting.status import status
    from gridwarden.accounting.store import open_any

    rows = status(open_any(load_settings.load(config).store, write=False))
    write([row._asdict() for row in rows], ("key", "value"), format)


@store_group.command("upgrade")
@click.option("--dry-run", is_flag=True, help="Try the whole upgrade, say what it would do, and take it back.")
@click.pass_obj
def upgrade_command(config: Path, dry_run: bool) -> None:
    """Bring the store's schema to the one that this gridwarden knows, and make it in an empty database.

    All of it or nothing: it may be stopped at any moment. Collectors wait meanwhile. Of a PostgreSQL store, make a
    dump first; of an SQLite store, a copy of its file while no collector runs.

    \b
    Examples:
      gridwarden store upgrade --dry-run
      gridwarden store upgrade
    """
    from gridwarden.accounting.store import open_any, upgrade

    store = open_any(load_settings.load(config).store, write=True, rehearse=dry_run)
    before, after = upgrade(store)
    if before == after:
        click.echo(f"the store {store.place} has schema {after}: nothing to do")
        return
    verb = "would be" if dry_run else "was"
    click.echo(f"the store {store.place} {verb} brought from schema {before} to {after}")
    if not dry_run:
        syslog_line.decision("store", "updated", before=before, after=after)
