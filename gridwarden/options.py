"""Options that commands of several parts have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gridwarden import node_file

if TYPE_CHECKING:
    from collections.abc import Callable

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
