"""Where the agent finds what it is told to use, and what it makes there."""

from __future__ import annotations

import os

from gridwarden.errors import ConfigurationError
from gridwarden.values import NamedTuple


class Paths(NamedTuple):
    """Where the node file, site.yaml and whoran are."""

    node: str
    config: str
    whoran: str

    def beside_whoran(self, command: str) -> str:
        """Another command of this installation."""
        return os.path.join(os.path.dirname(self.whoran), command)


def make_directories(site: dict[str, list[str]]) -> None:
    """Make the directory of the watched starters; raises OSError, ConfigurationError."""
    runtime = os.path.dirname(site["agent_socket"][0])
    try:
        os.mkdir(f"{runtime}/starters", 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise ConfigurationError(f"{runtime}: is not there", "gridwarden config install makes it") from error
