"""``gridwarden doctor``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden.options import Group
from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from gridwarden.hooks.doctor.examine import Wanted
    from gridwarden.hooks.doctor.finding import Finding
    from gridwarden.settings import Settings

UNKNOWN_TO_NAGIOS = 3
COLUMNS = ["kind", "severity", "detail", "remedy"]


@click.group("doctor", cls=Group, invoke_without_command=True)
@click.option("--nagios", is_flag=True, help="Print one line, and exit with 0, 1, 2 or 3, as Nagios plug-ins do.")
@format_option
@click.pass_context
def doctor_group(context: click.Context, nagios: bool, format: str) -> None:
    """Say what is amiss with gridwarden on this machine, node or controller, and which command mends it.

    Parts that are off; node file, directories and ledger; hooks that Slurm does not call, or that others could change; programs of
    another gridwarden than the one installed; jobs that no prolog has seen; clock, agent, pool accounts; who else can write in the gridmapdir; files of bans and followed files.

    Changes nothing. Run it as root on each node, on what maps, and on the NFS server: each sees its own part. Exit code 1 for a
    finding that is more than a note. With a command: looks at that part instead.

    \b
    Examples:
      gridwarden doctor
      gridwarden doctor --format json
      gridwarden doctor --nagios
      gridwarden doctor exec
    """
    if context.invoked_subcommand:
        return
    from gridwarden.errors import BadQuestion, GridwardenError
    from gridwarden.hooks.doctor import finding

    try:
        if os.geteuid() != 0:
            raise BadQuestion("only root sees all that the doctor looks at", "sudo gridwarden doctor")
        found = everything(context.obj)
    except (GridwardenError, OSError) as error:
        if not nagios:
            raise
        click.echo(f"GRIDWARDEN UNKNOWN - {escape(' '.join(str(error).split())).replace('|', '/')}")
        context.exit(UNKNOWN_TO_NAGIOS)
    if nagios:
        line, code = finding.nagios(found)
        click.echo(line)
        context.exit(code)
    if found or format != "table":
        write([one._asdict() for one in found], COLUMNS, format)
    if finding.worst(found) != finding.NOTE:
        context.exit(1)
    click.echo("nothing is amiss here, as far as this machine can tell", err=True)


def everything(path: Path) -> list[Finding]:
    """All findings, by the configuration at ``path``; raises what reading that raises, OSError without a gridmapdir."""
    from gridwarden.hooks.doctor.examine import examine
    from gridwarden.hooks.doctor.finding import CRITICAL, WARNING, Finding, of_risk
    from gridwarden.hooks.pilot import doctor
    from gridwarden.load_settings import load
    from gridwarden.mapper import ban_remarks, follow, sharing

    settings = load(path)
    asked = wanted(settings)
    found = examine(asked)
    found += map(of_risk, doctor.stale(asked.files))
    if os.path.lexists(settings.gridmapdir):
        found += map(of_risk, sharing.find(settings.gridmapdir))
    for severity, rows in (
        (CRITICAL, ban_remarks.risks(settings)),
        (WARNING, [follow.risk(state) for state in follow.alarms(settings.followed)]),
    ):
        found += [Finding(str(row["kind"]), severity, str(row["detail"]), str(row["remedy"])) for row in rows]
    return found


def wanted(settings: Settings) -> Wanted:
    """What the settings want of this machine."""
    from gridwarden import install
    from gridwarden.errors import ConfigurationError
    from gridwarden.hooks.doctor import examine
    from gridwarden.hooks.install import HookFile, plan

    files: list[HookFile] | ConfigurationError

    local = install.file_system(settings.gridmapdir) in install.LOCAL_FILE_SYSTEMS
    try:
        files = plan(Path(examine.HOOKS), Path(examine.SLURM), Path("/usr/bin"), mode=settings.pilot.mode)
    except ConfigurationError as error:
        files = error
    return examine.Wanted(
        node=install.node_pairs(settings, gridmapdir_local=local),
        directories=install.directories(settings, settings.holders_gid()),
        holders=settings.holders_directory,
        runtime=settings.directories.runtime,
        ledger=settings.ledger_directory,
        gridmapdir=settings.gridmapdir,
        pools=settings.pools,
        programs=str(settings.slurm.programs),
        spool=settings.slurm.spool,
        slurm="slurm" in settings.prune.batch and os.path.exists(settings.slurm.programs / "scontrol"),
        htcondor=str(settings.prune.htcondor_programs) if "htcondor" in settings.prune.batch else "",
        files=files,
    )
