"""The declaration of the section ``directories``: where gridwarden keeps its own files."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Section


class Directories(Section):
    """Where gridwarden keeps its own files on every machine."""

    state: AbsolutePath = Field(
        Path("/var/lib/gridwarden"),
        description="Directory of the ledger: a local disk that survives a restart.",
    )
    runtime: AbsolutePath = Field(
        Path("/run/gridwarden"),
        description="Directory of holders, register, payloads and locks: a local tmpfs, empty after a restart.",
    )
