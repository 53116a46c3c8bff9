"""Whether this machine's users are those that the pools lend."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gridwarden import pools
from gridwarden.errors import Refused
from gridwarden.hooks.doctor.finding import CRITICAL, Finding, few
from gridwarden.mapper.accounts import UsersReadOnce, usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def are_sound(gridmapdir: Path, names: Sequence[str]) -> Iterator[Finding]:
    """Accounts of the gridmapdir, where that can be seen, that are no users of their own on this machine."""
    try:
        entries = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(gridmapdir)
                   if any(pools.is_of_pool(entry.name, pool) for pool in names)}  # fmt: skip
    except OSError:
        return
    users = UsersReadOnce()
    found = []
    for name, status in sorted(entries.items()):
        try:
            usable(name, users)
        except Refused as refusal:
            lent = status.st_nlink > 1
            remedy = refusal.hint if lent else f"rm {gridmapdir}/{name}"
            found.append(
                Finding(refusal.reason, CRITICAL, f"{refusal.detail}{', and is lent' if lent else ''}", remedy)
            )
    yield from few(found)
