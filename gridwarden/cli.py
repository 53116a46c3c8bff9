"""The commands ``gridwarden`` and ``whoran``: find the part, and run it.

The only module that names every part, and it loads a part when its command is asked for: ``whoran``
must not wait for what only ``map`` needs.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from gridwarden import __version__
from gridwarden.options import Group
from gridwarden.run import run

if TYPE_CHECKING:
    from gridwarden.settings import Settings

COMMANDS = {
    "agent": "gridwarden.hooks.agent.commands:agent_group",
    "ban": "gridwarden.mapper.ban_commands:ban_group",
    "collect": "gridwarden.accounting.collect_commands:collect_command",
    "config": "gridwarden.commands:config_group",
    "doctor": "gridwarden.hooks.doctor_commands:doctor_group",
    "exec-check": "gridwarden.hooks.pilot.probe_commands:exec_check_command",
    "exec-dir": "gridwarden.hooks.pilot.exec_dir_commands:exec_dir_command",
    "exec-test": "gridwarden.hooks.pilot.probe_commands:exec_test_command",
    "export": "gridwarden.accounting.export_commands:export_command",
    "follow": "gridwarden.mapper.follow_commands:follow_command",
    "globus-map": "gridwarden.mapper.globus_commands:globus_map_command",
    "hooks": "gridwarden.hooks.commands:hooks_group",
    "import": "gridwarden.hooks.pilot.import_commands:import_group",
    "lease": "gridwarden.hooks.lease_commands:lease_group",
    "map": "gridwarden.mapper.commands:map_command",
    "off": "gridwarden.hooks.off_commands:off_command",
    "on": "gridwarden.hooks.off_commands:on_command",
    "pool": "gridwarden.mapper.pool_commands:pool_group",
    "report": "gridwarden.accounting.commands:report_command",
    "store": "gridwarden.accounting.store_commands:store_group",
    "submit": "gridwarden.hooks.commands:submit_group",
    "token": "gridwarden.mapper.token_commands:token_group",
}
BELOW = {"doctor": {"exec": "gridwarden.hooks.pilot.doctor_commands:exec_command"}}
"""Commands that one part adds to a group of another's."""

WHORAN = "gridwarden.accounting.whoran_commands:whoran_command"


REMARKS = "gridwarden.mapper.config_remarks:remarks"


def load_command(target: str) -> click.Command:
    """Import the click command that ``module:name`` stands for."""
    return cast("click.Command", load(target))


def load(target: str) -> Any:  # noqa: ANN401 - whatever has that name
    """Import what ``module:name`` stands for."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


class LazyGroup(Group):
    """A group whose sub-commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name the commands without importing them."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import one command; None when there is no such command."""
        target = COMMANDS.get(cmd_name)
        if not target:
            return None
        command = load_command(target)
        for name, added in BELOW.get(cmd_name, {}).items():
            cast("click.Group", command).add_command(load_command(added), name)
        return command


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
    context.meta["remarks"] = remarks


def remarks(settings: Settings, additions: Path) -> list[str]:
    """What the mapper has to say of the files that the settings, from site.yaml and ``additions``, name."""
    return cast("list[str]", load(REMARKS)(settings, additions))


def main() -> int:
    """Run ``gridwarden``."""
    return run(gridwarden, "gridwarden", sys.argv[1:])


def whoran() -> int:
    """Run ``whoran``."""
    return run(load_command(WHORAN), "whoran", sys.argv[1:])
