"""``gridwarden doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gridwarden.options import Group
from gridwarden.output import format_option, write

if TYPE_CHECKING:
    from pathlib import Path


@click.group("doctor", cls=Group, invoke_without_command=True)
@format_option
@click.pass_context
def doctor_group(context: click.Context, format: str) -> None:
    """Look for what sharing the gridmapdir risks, who else can write in it, and for files that are broken or too old.

    The files are those of bans, because of which nobody is mapped, and those that are followed.

    Changes nothing. Run it on a worker node, on what maps, and on the NFS server: each sees its own part. Exit code 1 for a risk.

    With a command: looks at that part instead.

    \b
    Examples:
      gridwarden doctor
      gridwarden doctor --format json
      gridwarden doctor exec
    """
    if context.invoked_subcommand:
        return
    from gridwarden.load_settings import load
    from gridwarden.mapper import ban_remarks, follow, sharing

    settings = load(context.obj)
    path: Path = settings.gridmapdir
    risks = [risk._asdict() for risk in sharing.find(path)]
    risks += ban_remarks.risks(settings)
    risks += [follow.risk(state) for state in follow.alarms(settings.followed)]
    if risks or format != "table":
        write(risks, ["kind", "detail", "remedy"], format)
    if not risks:
        click.echo(f"nobody else can write in {path}, as far as this machine can tell", err=True)
        return
    context.exit(1)
