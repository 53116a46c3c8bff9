"""``gridwarden exec-dir``."""

from __future__ import annotations

from pathlib import Path

import click

from gridwarden.errors import BadQuestion

LAUNCHER = "/usr/bin/gridwarden-exec"
LONGEST_MODE, MOST_MODE = 4, 0o1777


def read_mode(context: click.Context, option: click.Parameter, value: str) -> int:  # noqa: ARG001  click's signature
    """Return the number that an octal file mode, at most 1777, stands for."""
    if not value or len(value) > LONGEST_MODE or not set(value) <= set("01234567") or int(value, 8) > MOST_MODE:
        raise click.BadParameter(f"{value!r} is not a mode such as 0700")
    return int(value, 8)


@click.command("exec-dir")
@click.argument("area", type=click.Path(path_type=Path), default=Path())
@click.option("-t", "--mode", callback=read_mode, default="0700", show_default=True, help="Mode of the directory.")
@click.option(
    "-m",
    "--parent-mode",
    callback=read_mode,
    default="0755",
    show_default=True,
    help="Mode of the directory that it is in.",
)
@click.option("-r", "--remove", "remove_path", metavar="DIR", help="Remove DIR, which this command made.")
@click.option("--proxy", metavar="FILE", help="The owner's proxy, as for gridwarden-exec.")
@click.option("--token", metavar="FILE", help="The owner's token, as for gridwarden-exec.")
def exec_dir_command(
    area: Path, mode: int, parent_mode: int, remove_path: str | None, proxy: str | None, token: str | None
) -> None:
    """Make a directory in AREA that a payload's account owns, and print its path: for files between pilot and payload.

    What mkgltempdir does beside gLExec. It calls gridwarden-exec, so everything holds that holds for a payload: whose
    the credentials are decides which account it is. Each directory is in one of the pilot's own, with a name that nobody
    can guess. AREA is the working directory where none is given. Where pilot.programs says what may run, /usr/bin/mkdir
    and /usr/bin/find must be among it.

    \b
    Examples:
      gridwarden exec-dir --proxy payload.pem "$TMPDIR"
      gridwarden exec-dir --proxy payload.pem -r DIR
    """
    from gridwarden.hooks.pilot import exec_dir

    if parent_mode & 0o022 and not parent_mode & 0o1000:
        raise BadQuestion(f"--parent-mode {parent_mode:04o}: others could put something else in its place")
    options = [word for name, path in (("--proxy", proxy), ("--token", token)) if path for word in (name, path)]
    launcher = [LAUNCHER, *options, "--"]
    if remove_path is not None:
        exec_dir.remove(remove_path, launcher)
        return
    click.echo(exec_dir.make(str(area), launcher, mode, parent_mode))
