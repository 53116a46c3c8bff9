"""What commands of several parts have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gridwarden import node_file

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_SENTENCE = 300  # click's own cuts what one line does not hold
Function = TypeVar("Function", bound="Callable[..., Any]")


def node_file_option(meaning: str) -> Callable[[Function], Function]:
    """Give a click command the option ``--node-file`` (parameter ``node_path``), with ``meaning`` as its help."""
    return click.option(
        "--node-file",
        "node_path",
        type=click.Path(path_type=Path),
        default=Path(node_file.PATH),
        show_default=True,
        help=meaning,
    )


class Group(click.Group):
    """A group whose help has the whole first sentence of each of its commands."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands."""
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=LONGEST_SENTENCE)) for name, command in known if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
