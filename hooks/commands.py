"""``gridwarden submit`` and ``gridwarden hooks``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gridwarden import node_file, reasons
from gridwarden.errors import BadQuestion, GridwardenError, Refused
from gridwarden.hooks.slurm.submit import OPTIONS, check_options, command_line, read_script, submit_as
from gridwarden.options import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridwarden.hooks.install import HookFile
    from gridwarden.mapper.mapping import Presented
    from gridwarden.mapper.site import SiteValues
    from gridwarden.settings import Settings
    from gridwarden.slurm_settings import Slurm


@click.group(cls=Group)
def submit_group() -> None:
    """Submit a job as the account of a credential's owner.

    \b
    Examples:
      gridwarden submit slurm --proxy /var/spool/ce/42/proxy.pem < job.sh
    """


def allowed_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of sbatch that callers may use."""
    for option in reversed(OPTIONS):
        function = click.option(f"--{option.name}", metavar=option.metavar, help=option.help)(function)
    return function


@submit_group.command("slurm", context_settings={"ignore_unknown_options": True})
@click.option("--proxy", type=click.Path(path_type=Path), help="The owner's proxy.")
@click.option("--token", type=click.Path(path_type=Path), help="File with a token of the owner's.")
@click.option("--dry-run", is_flag=True, help="Verify and decide as usual, but lease and submit nothing.")
@allowed_options
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.pass_obj
def slurm_command(
    config: Path,
    /,
    proxy: Path | None,
    token: Path | None,
    dry_run: bool,
    others: tuple[str, ...],
    **options: str | None,
) -> None:
    """Submit the job script on standard input to Slurm, for whoever owns the proxy, the token or both; print the job's id.

    The script's own #SBATCH lines count, with the rights of the account.

    \b
    Examples:
      gridwarden submit slurm --proxy proxy.pem < job.sh
      gridwarden submit slurm --proxy proxy.pem --time 12:00:00 --mem 2G --partition grid < job.sh
      gridwarden submit slurm --token token.jwt < job.sh
      gridwarden submit slurm --proxy proxy.pem --dry-run < job.sh
    """
    from gridwarden.load_settings import load
    from gridwarden.mapper.mapping import Presented, note_failure
    from gridwarden.mapper.site import from_settings

    if not (proxy or token):
        raise BadQuestion("give --proxy or --token, or both", "gridwarden submit slurm --help")
    settings = load(config)
    site = from_settings(settings)
    try:
        if others:
            raise Refused(reasons.OPTION_NOT_ALLOWED, others[0], "gridwarden submit slurm --help lists the options")
        given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
        words = check_options(given)
        if sys.stdin is None:
            raise Refused(reasons.SCRIPT_EMPTY, "standard input is closed", "end the command with: < SCRIPT")
        script = read_script(sys.stdin.fileno(), settings.slurm.script_maximum_bytes)
    except GridwardenError as error:
        note_failure(error, None, site, "submit slurm")
        raise
    presented = Presented(proxy, token)
    if dry_run:
        foresee_slurm(presented, site, command_line(settings.slurm.programs, words, "HOME"))
    else:
        click.echo(submit_slurm(presented, settings, site, script, words))


def submit_slurm(presented: Presented, settings: Settings, site: SiteValues, script: bytes, words: list[str]) -> str:
    """Map, then submit; returns the job's id.

    Under the account's lock: where the CE is a node as well, an epilog would kill sbatch as a stray.
    """
    from gridwarden.hooks.job import LOCK_SECONDS
    from gridwarden.mapper.mapping import Wanted, map_credentials, note_failure
    from gridwarden.register import AccountLock

    lease = map_credentials(presented, site, Wanted("submit slurm"))
    try:
        with AccountLock(settings.locks_directory, lease.account, LOCK_SECONDS):
            return submit_as(lease, script, words, settings.slurm.programs)
    except GridwardenError as error:
        note_failure(error, None, site, "submit slurm")
        raise


def foresee_slurm(presented: Presented, site: SiteValues, command: list[str]) -> None:
    """Say what would be decided and run."""
    from gridwarden.mapper.foresee import foresee

    foresee(presented, site, click.echo)
    click.echo(f"would run, as that account: {' '.join(command)}")


@click.group(cls=Group)
def hooks_group() -> None:
    """Install what batch systems call.

    \b
    Examples:
      gridwarden hooks install --dry-run
    """


def places(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where hooks are."""
    absolute = click.Path(path_type=Path, resolve_path=False)
    for option in reversed(
        (
            click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing."),
            click.option("--directory", type=absolute, default=Path("/usr/libexec/gridwarden"), show_default=True,
                         help="Where the prolog, the epilog, the mapping plugins and the launcher go."),
            click.option("--slurm-directory", type=absolute, default=Path("/etc/slurm"), show_default=True,
                         help="Where slurm.conf is, and job_submit.lua goes; only the controller reads it."),
            click.option("--drop-in", type=absolute, metavar="DIRECTORY",
                         help="Where the site has prolog.d and epilog.d, such as /etc/slurm: a program of ours in each."),
            click.option("--program-directory", type=absolute, default=Path("/usr/bin"), show_default=True,
                         help="Where pilots find gridwarden-exec."),
            click.option("--glexec", type=absolute, multiple=True,
                         help="Path at which pilots find glexec, such as /usr/sbin/glexec; what is there is replaced. "
                              "May be repeated."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


@hooks_group.command("install")
@places
@click.pass_obj
def install_command(
    config: Path,
    /,
    dry_run: bool,
    directory: Path,
    slurm_directory: Path,
    drop_in: Path | None,
    program_directory: Path,
    glexec: tuple[Path, ...],
) -> None:
    """Write Slurm's prolog, epilog and job_submit.lua, the mapping plugins and the payload launcher.

    Files that are in place already are left alone, and those of others refused, but for --glexec. slurm.conf is not touched: the
    lines that it needs are printed, and `gridwarden doctor` says whether they are in effect. docs/credentials.md says how
    HTCondor-CE calls condor-token-map, and ARC arc-token-map; docs/launcher.md, how pilots call gridwarden-exec and glexec, and
    which sudo rule the launcher needs.

    Run it on every node and controller after each upgrade of gridwarden.

    \b
    Examples:
      gridwarden hooks install --dry-run
      gridwarden hooks install
      gridwarden hooks install --drop-in /etc/slurm
      gridwarden hooks install --glexec /usr/sbin/glexec
    """
    from gridwarden.hooks import installing
    from gridwarden.output import escape

    faces = [path.absolute() for path in glexec]
    files, slurm = planned(config, directory, slurm_directory, drop_in, program_directory, faces)
    for text in installing.install(files, faces, dry_run=dry_run):
        click.echo("\n".join(map(escape, text.split("\n"))))
    click.echo(f"slurm.conf needs:\n{installing.fragment(directory.absolute(), drop_in, slurm.hook_seconds)}", nl=False)


@hooks_group.command("uninstall")
@places
@click.option("--force", is_flag=True, help="Also while Slurm still names them, which drains nodes, or the agent runs.")
@click.pass_obj
def uninstall_command(
    config: Path,
    /,
    dry_run: bool,
    directory: Path,
    slurm_directory: Path,
    drop_in: Path | None,
    program_directory: Path,
    glexec: tuple[Path, ...],
    force: bool,
) -> None:
    """Remove what `hooks install` wrote, and nothing else; not while Slurm still calls it, or the agent runs from it.

    Take the lines out of slurm.conf and stop the agent first. Leases, ledger and configuration stay.

    \b
    Examples:
      gridwarden hooks uninstall --dry-run
      gridwarden hooks uninstall --glexec /usr/sbin/glexec
    """
    from gridwarden.hooks import installing

    faces = [path.absolute() for path in glexec]
    files, slurm = planned(config, directory, slurm_directory, drop_in, program_directory, faces)
    if not force:
        installing.refuse_in_use(files, str(slurm.programs))
        for socket in node_file.read().get("agent_socket", []) if os.path.exists(node_file.PATH) else ():
            installing.refuse_running_agent(files, socket)
    for text in installing.uninstall(files, directory.absolute(), dry_run=dry_run):
        click.echo(text)


def planned(
    config: Path, directory: Path, slurm_directory: Path, drop_in: Path | None, programs: Path, faces: Sequence[Path]
) -> tuple[list[HookFile], Slurm]:
    """The files of this machine, and what is set of its Slurm; a machine without site.yaml gets them too."""
    from gridwarden.hooks.install import plan
    from gridwarden.hooks.installing import drop_ins
    from gridwarden.load_settings import load
    from gridwarden.slurm_settings import Slurm

    settings = load(config) if config.exists() else None
    mode = settings.pilot.mode if settings else "switch"
    files = plan(directory.absolute(), slurm_directory.absolute(), programs.absolute(), faces, mode)
    if drop_in:
        files += drop_ins(files, drop_in.absolute())
    return files, settings.slurm if settings else Slurm(cluster="unknown")
