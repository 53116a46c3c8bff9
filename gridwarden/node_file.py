"""The node file: all that hooks and job_submit.lua read of the site's configuration.

``gridwarden config install`` writes it from site.yaml; docs/files.md lists its keys.
"""

from __future__ import annotations

import os

from gridwarden import tab_file, trusted
from gridwarden.errors import ConfigurationError

PATH = "/etc/gridwarden/node"
REQUIRED = (
    "site",
    "cluster",
    "pool",
    "holders",
    "register",
    "locks",
    "ledger",
    "gridmapdir",
    "gridmapdir_local",
    "slurm_programs",
    "slurm_spool",
    "prolog_on_failure",
    "epilog_on_failure",
)


def read(path: str | os.PathLike[str] = PATH) -> dict[str, list[str]]:
    """The values of each key; raises ConfigurationError when the file is missing, unsafe or not whole."""
    hint = "gridwarden config install writes it"
    try:
        values = tab_file.decode(trusted.read_file(path))
    except ConfigurationError as error:
        raise ConfigurationError(error.faults, error.hint or hint) from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}", hint) from error
    missing = [key for key in REQUIRED if key not in values]
    if missing:
        raise ConfigurationError(f"{path}: has no {', '.join(missing)}", hint)
    return values


def write(path: str | os.PathLike[str], pairs: list[tuple[str, str]]) -> None:
    """Replace the node file, readable by all; raises OSError or ConfigurationError."""
    trusted.replace_file(path, tab_file.encode(pairs), 0o644)
