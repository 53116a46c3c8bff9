"""The declaration of the section ``retention``: how long the store keeps what was collected."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from gridwarden.records import KINDS
from gridwarden.setting_types import FaultsError, Section, WholeDays

BATCH_JOB = "batch_job"
PROCESS = "process"
CLAIM = "claim"
THIRTEEN_MONTHS = 396


def known_kind(kind: str) -> str:
    """Return ``kind``, which must be one of records, or the batch systems' own of jobs, the kernel's of processes, or of claims."""
    if kind not in KINDS and kind not in {BATCH_JOB, PROCESS, CLAIM}:
        raise ValueError(
            f"{kind!r} is no kind of record; docs/files.md lists them, {BATCH_JOB} is a batch system's, {PROCESS} the kernel's, "
            f"{CLAIM} of other programs' logs"
        )
    return kind


class KindRetention(Section):
    """How long one kind of record is kept, where that is not `retention.days`."""

    kind: Annotated[str, AfterValidator(known_kind)] = Field(
        description=f"Kind of record, as in docs/files.md; `{BATCH_JOB}` for what the batch systems' own accounting "
        f"says, `{PROCESS}` for processes that have ended, `{CLAIM}` for what logs of LCMAPS, gLExec and computing elements say.",
        examples=["refused"],
    )
    days: WholeDays = Field(description="How long it is kept.", examples=[90])


class Retention(Section):
    """How long the store keeps what was collected, which `gridwarden store expire` carries out."""

    days: WholeDays = Field(
        THIRTEEN_MONTHS,
        description="How long records are kept; that of a lending as long as its lease is seen.",
    )
    kinds: tuple[KindRetention, ...] = Field((), description="Kinds of record that are kept for another time.")
    pseudonym_days: WholeDays | None = Field(
        None,
        description="Age at which identities in the store are replaced by pseudonyms: one an identity, so that sums by "
        "person still hold. Not set: never.",
        examples=[90],
    )

    ledger_days: WholeDays | None = Field(
        None,
        description="How long the files of a machine's own ledger stay there once the store holds them, after they were written "
        "to last; `gridwarden collect` then removes them. Not set: for ever. Where leases are made, let them stay: "
        "`gridwarden ban add --serial` finds there which lease a certificate was mapped to.",
        examples=[90],
    )

    @field_validator("kinds")
    @classmethod
    def apart(cls, kinds: tuple[KindRetention, ...]) -> tuple[KindRetention, ...]:
        """Refuse two times for one kind."""
        names = [one.kind for one in kinds]
        faults: list[tuple[tuple[str | int, ...], str]] = [
            ((place, "kind"), "stands twice") for place, name in enumerate(names) if name in names[:place]
        ]
        if faults:
            raise FaultsError(faults)
        return kinds
