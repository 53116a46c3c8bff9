"""Control groups of version 2 also where the machine has none mounted, as on the site."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gridwarden.hooks.pilot import control_group
from gridwarden.prune.control_group import ROOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.hooks.pilot.control_group import Group

PLACE = "/sys/fs/cgroup"


@contextmanager
def a_group() -> Iterator[Group]:
    """A group below this process's own; the test is skipped only where the kernel mounts none for root."""
    mounted = not any(os.path.exists(f"{root}/cgroup.controllers") for root in ROOTS) and _mount()
    group = control_group.make(os.urandom(16).hex())
    try:
        if group is None:
            pytest.skip("no control group of version 2 can be made here")
        yield group
    finally:
        if group:
            group.remove()
            os.close(group.directory)
        if mounted:
            subprocess.run(["umount", PLACE], check=True)


def _mount() -> bool:
    return subprocess.run(["mount", "-t", "cgroup2", "none", PLACE], check=False, capture_output=True).returncode == 0
