"""The declaration of the section ``leases``: how accounts are lent, and when they go to somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gridwarden.setting_types import AbsolutePath, Account, FaultsError, NodeName, Section, WholeDays, WholeHours

LeaseName = Literal["dn", "dn-and-groups"]
Homes = Literal["rebuild", "quota", "keep"]
Adopted = Literal["follow", "refuse"]


class Leases(Section):
    """How accounts of the pools are lent, and when one is lent to somebody else."""

    name: LeaseName = Field(
        "dn",
        description="What a lease is named after: the subject alone, or the subject and the groups of its FQANs, "
        "so that a person has an account for each set of groups. LCMAPS and Argus on the same gridmapdir "
        "must be configured for the same.",
    )
    groupmapfile: AbsolutePath | None = Field(
        None,
        description="The groupmapfile that LCMAPS or Argus reads: which group each FQAN gives. "
        "Needed for `name: dn-and-groups`.",
        examples=["/etc/grid-security/groupmapfile"],
    )
    slots: int = Field(
        0,
        strict=True,
        ge=0,
        le=9999,
        description="How many accounts one identity may have for jobs beside each other, as LCMAPS's mapcounter: "
        "`gridwarden map --slot K` takes the Kth. 0: one account an identity, without a slot in the lease's name.",
    )
    adopted: Adopted = Field(
        "follow",
        description="What becomes of an identity whose lease another program made: they keep its account, recorded as "
        "adopted, since only the lease's name and not the exact identity was proven; or they are refused until that "
        "lease is released.",
    )
    warn_at_percent: int = Field(
        90,
        strict=True,
        ge=1,
        le=100,
        description="How full a pool may be before new leases from it warn in syslog.",
        json_schema_extra={"unit": "percent"},
    )
    idle_days: WholeDays = Field(
        30,
        description="How long nobody must have used a lease before `gridwarden lease recycle` takes it.",
    )
    cooling_hours: WholeHours = Field(
        24,
        description="How long a released account stays taken before everything is asked again and it is lent anew.",
    )
    nodes: tuple[NodeName, ...] = Field(
        (),
        description="Nodes that must say that nothing of an account is left on them before it is lent anew. "
        "Empty: this machine alone.",
        examples=[["wn001", "wn002"]],
    )
    answer_hours: WholeHours = Field(
        2,
        description="How old such an answer may be.",
    )
    homes: Homes = Field(
        "rebuild",
        description="What becomes of an account's home before the account is lent anew: emptied and rebuilt from "
        "`skeleton`; not touched, but its quota must show it empty; or kept, the site's own affair.",
    )
    skeleton: AbsolutePath = Field(
        Path("/etc/skel"), description="Directory, root's own, of which a rebuilt home is a copy."
    )
    system_groups: tuple[Account, ...] = Field(
        (),
        description="Groups with a gid below 1000 that rules, or a groupmapfile, may give to jobs all the same; root's "
        "never.",
        examples=[["users"]],
    )

    @model_validator(mode="after")
    def groups_are_known(self) -> Self:
        """Refuse names made of groups where nothing says which groups."""
        if self.name == "dn-and-groups" and self.groupmapfile is None:
            raise FaultsError([(("groupmapfile",), "is needed for name: dn-and-groups")])
        return self
