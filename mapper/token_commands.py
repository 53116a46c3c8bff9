"""``gridwarden token``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden.errors import BadQuestion, Unavailable
from gridwarden.options import Group
from gridwarden.output import format_option, write

if TYPE_CHECKING:
    from pathlib import Path


@click.group("token", cls=Group)
def token_group() -> None:
    """Keep what is needed to verify tokens.

    \b
    Examples:
      gridwarden token refresh
    """


@token_group.command("refresh")
@click.option("--issuer", metavar="URL", default="", help="Only the keys of this issuer.")
@click.option("--dry-run", is_flag=True, help="Fetch and check, and keep nothing.")
@format_option
@click.pass_obj
def refresh_command(path: Path, issuer: str, dry_run: bool, format: str) -> None:
    """Fetch the public keys of every issuer in `tokens.issuers` that has no `keys` file of the site's own.

    Mapping never uses the network: run this from cron, every hour or so. Keys that cannot be had, or are none, leave
    the old ones in force; the exit code is 75 then.

    \b
    Examples:
      gridwarden token refresh
      gridwarden token refresh --issuer https://cms-auth.example.org/ --dry-run
    """
    from gridwarden.load_settings import load
    from gridwarden.mapper.key_refresh import KEPT, MISSING, refresh
    from gridwarden.mapper.site import from_settings

    tokens = from_settings(load(path)).tokens
    if issuer and issuer not in [one.issuer for one in tokens.issuers if one.fetched]:
        raise BadQuestion(f"{issuer}: tokens.issuers does not have it, or its keys are a file of the site's own")
    outcomes = list(refresh(tokens, issuer, dry_run=dry_run))
    write([one._asdict() for one in outcomes], ["issuer", "outcome", "file", "detail"], format)
    failed = [one.issuer for one in outcomes if one.outcome in (KEPT, MISSING)]
    if failed:
        raise Unavailable(f"no new keys of {', '.join(failed)}", "what was fetched before is still in force")
