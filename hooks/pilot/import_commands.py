"""``gridwarden import``: what another program's configuration becomes here."""

from __future__ import annotations

from pathlib import Path

import click

from gridwarden.errors import ConfigurationError
from gridwarden.options import Group
from gridwarden.output import format_option, write

LARGEST = 256 * 1024


@click.group("import", cls=Group)
def import_group() -> None:
    """Read the configuration of another program, and say what becomes of it here.

    \b
    Examples:
      gridwarden import glexec /etc/glexec.conf
    """


@import_group.command("glexec")
@click.argument("file", type=click.Path(path_type=Path), default=Path("/etc/glexec.conf"))
@click.option("--section", is_flag=True, help="Print the section `pilot` for site.yaml that the honoured keys make.")
@click.option(
    "--fqan",
    "fqans",
    multiple=True,
    help="With --section: an FQAN that the callers' own proxy must have, such as /cms/Role=pilot. gLExec asked for none.",
)
@format_option
@click.pass_context
def glexec_command(context: click.Context, file: Path, section: bool, fqans: tuple[str, ...], format: str) -> None:
    """Say of each key of a glexec.conf: honoured, replaced by what, or refused because.

    Changes nothing. Exit code 1 when a key is refused: what it asked for will not happen.

    \b
    Examples:
      gridwarden import glexec
      gridwarden import glexec --section --fqan /cms/Role=pilot > /etc/gridwarden/site.d/pilot.yaml
    """
    from gridwarden.hooks.pilot import glexec_conf

    judged = glexec_conf.judge(glexec_conf.read(read(file), str(file)))
    if section:
        import yaml

        click.echo(yaml.safe_dump({"pilot": glexec_conf.section_of(judged, fqans)}, sort_keys=False), nl=False)
    else:
        rows = [line._asdict() | {"line": line.number} | fate._asdict() for line, fate in judged]
        write(rows, ["line", "key", "value", "verdict", "detail"], format)
    if any(fate.verdict == glexec_conf.REFUSED for _, fate in judged):
        context.exit(1)


def read(file: Path) -> bytes:
    """The bytes of a configuration of moderate size; raises ConfigurationError."""
    with file.open("rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ConfigurationError(f"{file}: is larger than {LARGEST} bytes")
    return data
