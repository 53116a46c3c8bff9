"""``gridwarden doctor exec``."""

from __future__ import annotations

import os

import click

from gridwarden.errors import BadQuestion
from gridwarden.output import format_option, write


@click.command("exec")
@format_option
@click.pass_context
def exec_command(context: click.Context, format: str) -> None:
    """Look for what keeps payloads of pilots from running here, or from running safely: sudo, PAM, permissions.

    Changes nothing. Run it as root on a worker node, after each change of sudoers or /etc/pam.d. Exit code 1 for a finding.

    \b
    Examples:
      gridwarden doctor exec
    """
    from gridwarden.hooks.pilot import doctor
    from gridwarden.load_settings import load

    if os.geteuid() != 0:
        raise BadQuestion("only root can read sudo's rules and ask them for others", "sudo gridwarden doctor exec")
    settings = load(context.obj)
    places = doctor.Places(payloads=str(settings.payloads_directory))
    tracking = tracks_by(str(settings.slurm.programs)) if "slurm" in settings.prune.batch else None
    found = [risk._asdict() for risk in doctor.examine(settings.pilot, places, tracking=tracking)]
    if found or format != "table":
        write(found, ["kind", "detail", "remedy"], format)
    if not found:
        click.echo("nothing here keeps payloads from running, as far as this machine can tell", err=True)
        return
    context.exit(1)


def tracks_by(programs: str) -> str:
    """Slurm's ProctrackType, "" where the controller does not say."""
    from gridwarden.errors import Unavailable
    from gridwarden.hooks.doctor import slurm

    try:
        return next(iter(slurm.ask(programs).values.get("ProctrackType", [])), "")
    except Unavailable:
        return ""
