"""The declaration of the section ``globus``: identity mapping files."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from gridwarden.setting_types import AbsolutePath, FaultsError, NodeName, Seconds, Section

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def uuid(text: str) -> str:
    """Return ``text``, a UUID in small letters."""
    if not UUID.fullmatch(text):
        raise ValueError("must be a UUID in small letters")
    return text


class GlobusSet(Section):
    """Identity mapping files that rules of the policy can ask by one name."""

    name: NodeName = Field(description="Name by which rules ask: `globus: NAME`.", examples=["endpoint"])
    files: tuple[AbsolutePath, ...] = Field(
        description="Files of identity mapping documents, asked in this order. Looked at before each decision; a faulty "
        "change is logged and the mapping stays as it was. `[]` in a file maps nobody.",
        examples=[["/etc/gridwarden/globus.json"]],
    )
    seconds: Seconds = Field(
        5,
        gt=0,
        le=60,
        description="How long a program of an `external_identity_mapping#1.0.0` may take.",
    )
    gateway: Annotated[str, AfterValidator(uuid)] = Field(
        "00000000-0000-0000-0000-000000000000",
        description="UUID that such programs are given behind `-s`: of the storage gateway, or of the Compute endpoint.",
    )

    @field_validator("files")
    @classmethod
    def not_empty(cls, files: tuple[AbsolutePath, ...]) -> tuple[AbsolutePath, ...]:
        """Refuse a set of nothing."""
        if not files:
            raise ValueError("must not be empty")
        return files


class Globus(Section):
    """How Globus identities come to accounts, for rules with `globus: NAME`."""

    sets: tuple[GlobusSet, ...] = Field((), description="Sets of identity mapping files.")

    @field_validator("sets")
    @classmethod
    def apart(cls, sets: tuple[GlobusSet, ...]) -> tuple[GlobusSet, ...]:
        """Refuse two sets of one name."""
        names = [one.name for one in sets]
        faults: list[tuple[tuple[str | int, ...], str]] = [
            ((place, "name"), "stands twice") for place, name in enumerate(names) if name in names[:place]
        ]
        if faults:
            raise FaultsError(faults)
        return sets
