"""The beginning of a launch: all that must come before anything of the caller's is read, or loaded to read it with."""

from __future__ import annotations

import ctypes  # noqa: F401 - for the verifiers and for us, once
import os

from gridwarden.hooks.pilot import ancestors, inherited
from gridwarden.mapper import readied


def main() -> int:
    """Launch what was asked for; the exit code."""
    above = ancestors.watch()
    kept = inherited.put_right()
    os.umask(0o022)
    with readied.Readied() as verifiers:
        from gridwarden.hooks.pilot import launch  # noqa: PLC0415 - the verifiers load their code meanwhile

        return launch.main(verifiers, above, kept)
