"""``gridwarden config``: check, show, sample, install."""

from __future__ import annotations

from pathlib import Path

import click

from gridwarden.options import Group, node_file_option
from gridwarden.output import escape, format_option, write


@click.group(cls=Group)
def config_group() -> None:
    """Check, show and install the site's configuration.

    \b
    Examples:
      gridwarden config sample > /etc/gridwarden/site.yaml
      gridwarden config check
      gridwarden config install
    """


@config_group.command("check")
@click.pass_context
def check_command(context: click.Context) -> None:
    """Read site.yaml and site.d; list every fault with its file, line and key.

    Lists the faults of the ban files, map files, Globus mapping files and tokens' keys that it names too, and where the
    answer of the Globus files here is another than Globus's own. Exit code 78 when there is a fault.

    \b
    Examples:
      gridwarden config check
      gridwarden --config ./site.yaml config check
    """
    from gridwarden.load_settings import load_with_origins
    from gridwarden.setting_files import files_of

    path: Path = context.obj
    settings, _, replaced = load_with_origins(path)
    additions = path.absolute().with_suffix(".d")
    for sentence in [*replaced, *settings.prune.remarks(), *context.meta["remarks"](settings, additions)]:
        click.echo(escape(sentence))
    click.echo(f"no fault in {', '.join(str(file) for file in files_of(path))}")


@config_group.command("show")
@click.option("--origin", is_flag=True, help="Add where each value was written: FILE:LINE, or default.")
@format_option
@click.pass_obj
def show_command(path: Path, origin: bool, format: str) -> None:
    """List every key with the value in force.

    \b
    Examples:
      gridwarden config show --origin
      gridwarden config show --format json
    """
    from gridwarden.describe_settings import in_force
    from gridwarden.load_settings import load_with_origins

    columns = ["key", "value", "origin"] if origin else ["key", "value"]
    write(in_force(load_with_origins(path)), columns, format)


@config_group.command("sample")
def sample_command() -> None:
    """Print a commented site.yaml: what must be set, and the default of everything else.

    \b
    Examples:
      gridwarden config sample > /etc/gridwarden/site.yaml
    """
    from gridwarden.describe_settings import sample

    click.echo(sample(), nl=False)


@config_group.command("install")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@node_file_option("The file that hooks and job_submit.lua read.")
@click.option(
    "--tmpfiles",
    "tmpfiles_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/tmpfiles.d/gridwarden.conf"),
    show_default=True,
    help="The file by which systemd makes the runtime directories when the machine starts.",
)
@click.pass_obj
def install_command(path: Path, dry_run: bool, node_path: Path, tmpfiles_path: Path) -> None:
    """Write the node file and make gridwarden's directories, on this machine.

    Hooks read the node file alone: run this on every machine after each change of site.yaml.

    \b
    Examples:
      gridwarden config install --dry-run
      gridwarden config install
    """
    from gridwarden.install import install
    from gridwarden.load_settings import load

    for sentence in install(load(path), node_path.absolute(), tmpfiles_path.absolute(), dry_run=dry_run):
        click.echo(sentence)
