"""``gridwarden follow``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden.mapper.commands import dry_run_option
from gridwarden.output import format_option, write

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ["path", "source", "state", "version", "age_hours", "alarm", "detail"]


@click.command("follow")
@dry_run_option
@format_option
@click.pass_context
def follow_command(context: click.Context, dry_run: bool, format: str) -> None:
    """Take over newer versions of the files that the site follows, and tell the hooks of bans that began or ended.

    A timer runs it every few minutes. A source that is missing, not signed by its key, older than what was seen, or
    not readable as what it is for, changes nothing: the last good copy stays. Exit code 75 for one of those, or for a
    copy that is older than its alarm_hours; 78 for a copy that cannot be trusted. The other files are followed all the same.

    \b
    Examples:
      gridwarden follow
      gridwarden follow --dry-run
      gridwarden follow --format json
    """
    from gridwarden.errors import ConfigurationError, GridwardenError, Unavailable
    from gridwarden.load_settings import load, load_with_origins, parse
    from gridwarden.mapper import ban_changes, follow
    from gridwarden.mapper.site import from_settings

    path: Path = context.obj
    settings = load(path)
    site = from_settings(settings)

    def check_policy(file: Path, data: bytes) -> None:
        beyond = sorted(set(parse(file, data, []).values) - {"policy"})
        if beyond:
            raise ConfigurationError(f"it sets {', '.join(beyond)}, and a followed file may set policy alone")
        load_with_origins(path, (file, data))

    states = []
    codes = {0}
    for followed in settings.followed:
        check = follow.checker(followed, site, path.absolute().with_suffix(".d"), check_policy)
        try:
            state = follow.follow(followed, check, site, dry_run=dry_run)
        except (GridwardenError, OSError) as error:  # one that fails must not keep the bans of the others back
            state = follow.failed(followed, error, dry_run=dry_run)
            codes.add(getattr(error, "exit_code", Unavailable.exit_code))
        if state.alarm or state.detail:
            codes.add(Unavailable.exit_code)
        states.append(state)
    write([state._asdict() for state in states], COLUMNS, format)
    change = ban_changes.refresh(site, dry_run=dry_run)
    if change.marked:
        verb = "would change" if dry_run else "changed"
        click.echo(f"the verdict {verb} for {' '.join(marked.holder.account for marked in change.marked)}", err=True)
    context.exit(max(codes))
