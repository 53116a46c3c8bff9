"""The commands ``gridwarden``, ``whoran`` and ``gridwarden-prune``: find the part, run it, turn its error into text and an exit code.

The only module that names every part, and it loads a part when its command is asked for: ``whoran``
must not wait for what only ``map`` needs.  docs/exit-codes.md is the table of exit codes.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import cast

import click
from click.shell_completion import shell_complete

from gridwarden import __version__
from gridwarden.errors import GridwardenError
from gridwarden.output import escape

COMMANDS = {
    "ban": "gridwarden.mapper.commands:ban_group",
    "collect": "gridwarden.accounting.commands:collect_command",
    "config": "gridwarden.commands:config_group",
    "doctor": "gridwarden.mapper.doctor_commands:doctor_command",
    "hooks": "gridwarden.hooks.commands:hooks_group",
    "lease": "gridwarden.hooks.lease_commands:lease_group",
    "map": "gridwarden.mapper.commands:map_command",
    "pool": "gridwarden.mapper.pool_commands:pool_group",
    "report": "gridwarden.accounting.commands:report_command",
    "submit": "gridwarden.hooks.commands:submit_group",
}
WHORAN = "gridwarden.accounting.commands:whoran_command"
PRUNE = "gridwarden.prune.commands:prune_command"

UNEXPECTED = 70  # EX_SOFTWARE: a fault of gridwarden itself
OPERATING_SYSTEM = 71  # EX_OSERR: the machine refused something that no part foresaw
INTERRUPTED = 130  # 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE, as if the reader's departure had ended us: 1 would say "nothing known"


def load_command(target: str) -> click.Command:
    """Import the click command that ``module:name`` stands for."""
    module, name = target.split(":")
    return cast("click.Command", getattr(importlib.import_module(module), name))


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name the commands without importing them."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import one command; None when there is no such command."""
        target = COMMANDS.get(cmd_name)
        return load_command(target) if target else None


@click.group(cls=LazyGroup)
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    default=Path("/etc/gridwarden/site.yaml"),
    envvar="GRIDWARDEN_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The site's configuration; site.d/*.yaml beside it is read too.",
)
@click.version_option(__version__, prog_name="gridwarden")
@click.pass_context
def gridwarden(context: click.Context, config: Path) -> None:
    """Say which grid identity is behind every process of this site, and act on it.

    \b
    Examples:
      gridwarden config check
      gridwarden map --proxy /tmp/x509up_u1000 --explain
      gridwarden ban add '/DC=org/DC=example/CN=Eve' --because 'stolen key'
      gridwarden report --since 2026-11-01
    """
    context.obj = config


def run(command: click.Command, name: str, arguments: list[str]) -> int:  # noqa: PLR0911  one a kind of end
    """Run ``command`` as the program ``name``; return its exit code.

    Whatever can go wrong becomes text here and nowhere else.
    """
    open_missing_streams()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a subject no locale can print
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    if instruction := os.environ.get(variable):
        return shell_complete(command, {}, name, variable, instruction)
    try:
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # What is still in the buffer must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except GridwardenError as error:
        complain(name, str(error), error.hint)
        return error.exit_code
    except OSError as error:
        complain(name, f"{error.filename or 'the operating system'}: {error.strerror or error}")
        return OPERATING_SYSTEM
    except Exception as error:  # noqa: BLE001  the last resort: an exit code that scripts can tell from a refusal
        traceback.print_exc()
        complain(
            name,
            f"unexpected {type(error).__name__}: {error}",
            "this is a fault of gridwarden; please report the lines above",
        )
        return UNEXPECTED
    return 0


def open_missing_streams() -> None:
    """Send to /dev/null what the caller closed (``>&-``), or the next file opened would get our output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115  lives on


def complain(name: str, message: str, hint: str = "") -> None:
    """Write an error, one line a fault, and what to do next, to standard error."""
    for line in message.split("\n"):
        click.echo(f"{name}: {escape(line)}", err=True)
    if hint:
        click.echo(f"hint: {escape(hint)}", err=True)


def main() -> int:
    """Run ``gridwarden``."""
    return run(gridwarden, "gridwarden", sys.argv[1:])


def whoran() -> int:
    """Run ``whoran``."""
    return run(load_command(WHORAN), "whoran", sys.argv[1:])


def prune() -> int:
    """Run ``gridwarden-prune``."""
    return run(load_command(PRUNE), "gridwarden-prune", sys.argv[1:])
