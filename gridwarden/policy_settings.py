"""The declaration of the section ``policy``: whom a rule matches, and what becomes of them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from gridwarden.patterns import check_pattern
from gridwarden.setting_types import AbsolutePath, Account, FaultsError, Section, Text

Plugin = Literal["localaccount", "poolaccount", "voms_localaccount", "voms_poolaccount"]
CONDITIONS = (
    "dn", "fqan", "vo", "issuer", "subject", "group", "scope", "audience", "identity_provider",
    "authenticated_within_minutes",
)  # fmt: skip
OUTCOMES = ("pool", "account", "refuse", "map_file", "globus")
GROUPS = ("primary_group", "secondary_groups", "groupmapfile")
# Rules that show, between them, every key.
EXAMPLES = (
    {"fqan": ["/cms", "/cms/Role=pilot"], "limited": True, "pool": "cms"},
    {"vo": "cms", "pool": "cms", "primary_group": "cmsusers", "secondary_groups": ["cmsdata"]},
    {"dn": "/DC=org/*", "issuer": "https://wlcg.example.org/", "group": "/cms/pilots", "pool": "cms"},
    {"issuer": "https://wlcg.example.org/", "subject": "7f3c1a9e", "scope": "compute.create", "account": "cmstest"},
    {"issuer": "https://wlcg.example.org/", "audience": "https://old.example.org", "refuse": "ask for a new token"},
    {"map_file": "/etc/grid-security/grid-mapfile", "plugin": "localaccount"},
    {"fqan": "/cms", "pool": "cms", "groupmapfile": "/etc/grid-security/groupmapfile"},
    {"globus": "endpoint", "identity_provider": "example.edu", "authenticated_within_minutes": 60},
    {"subject": "anna", "account": "cmstest"},
)


def as_list(value: object) -> object:
    """Return what may be written alone as a list of one."""
    return [value] if isinstance(value, str) else value


Pattern = Annotated[Text, AfterValidator(check_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(as_list)]


def declared_pools(info: ValidationInfo) -> list[object]:
    """Return what the site gives as ``pools``, faulty or not."""
    pools = (info.context or {}).get("pools")
    return pools if isinstance(pools, list) else []


def declared_pool(pool: str, info: ValidationInfo) -> str:
    """Return the name of a pool that the site has."""
    if pool not in declared_pools(info):
        raise ValueError(f"pool {pool!r} is not one of pools")
    return pool


DeclaredPool = Annotated[str, AfterValidator(declared_pool)]


def declared_globus_sets(info: ValidationInfo) -> list[object]:
    """Return the names of what the site gives as ``globus.sets``, faulty or not."""
    section = (info.context or {}).get("globus")
    sets = section.get("sets") if isinstance(section, dict) else None
    return [one.get("name") for one in sets if isinstance(one, dict)] if isinstance(sets, list) else []


class Rule(Section):
    """One rule of the policy: whom it matches, and what becomes of them.

    Every condition must be met; those of one credential (a certificate's ``dn`` and ``fqan``; a token's ``issuer``,
    ``subject``, ``group``, ``scope`` and ``audience``; a Globus identity's) by the same one. Patterns are
    case-sensitive shell patterns in which ``*`` crosses ``/``.
    """

    dn: Pattern | None = Field(
        None,
        description="Pattern that a certificate's subject must match, in slash form.",
        examples=["/DC=org/DC=example/CN=Robot*"],
    )
    fqan: Patterns = Field(
        (),
        description="Pattern that one of a proxy's VOMS attributes must match; several must each match one. "
        "Every member of a VO has `/VO` itself; `/VO*` would also match another VO whose name goes on.",
        examples=["/cms/Role=production"],
    )
    vo: Pattern | None = Field(
        None, description="Pattern that the VO of the proxy or of the token must match.", examples=["cms"]
    )
    issuer: Pattern | None = Field(
        None, description="Pattern that a token's issuer must match.", examples=["https://wlcg.example.org/"]
    )
    subject: Pattern | None = Field(
        None,
        description="Pattern that a token's `sub` must match, at the `issuer` of the same rule; in a rule without "
        "`issuer` a Globus identity's UUID, or the name of a user that a trusted caller gives.",
        examples=["7f3c1a9e-1b1d-4c55-9d3a-0c6a54a2b2d1"],
    )
    group: Patterns = Field(
        (),
        description="Pattern that one of a token's `wlcg.groups` must match; several must each match one.",
        examples=["/cms/production"],
    )
    scope: Patterns = Field(
        (),
        description="Pattern that one of a token's scopes must match; several must each match one.",
        examples=["compute.create"],
    )
    audience: Pattern | None = Field(
        None, description="Pattern that one of a token's audiences must match.", examples=["https://ce.example.org"]
    )
    identity_provider: Pattern | None = Field(
        None,
        description="Pattern that the domain of a Globus identity's provider must match.",
        examples=["example.edu"],
    )
    authenticated_within_minutes: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=525600,
        description="How recently the Globus identity must have proven who they are.",
        json_schema_extra={"unit": "minutes"},
    )
    limited: bool = Field(
        default=False,
        description="Whether a limited proxy meets the rule, too; a rule that refuses is met by any.",
    )
    pool: DeclaredPool | None = Field(None, description="Pool that lends an account to the identity.", examples=["cms"])
    account: Account | None = Field(
        None, description="Fixed account for every identity that matches.", examples=["cmsprod"]
    )
    refuse: Text | None = Field(
        None, description="Sentence with which the identity is refused.", examples=["robots may not run here"]
    )
    map_file: AbsolutePath | None = Field(
        None,
        description="grid-mapfile or voms-mapfile to look the certificate up in, at this place of the policy; "
        "whoever is not in it goes on to the next rule. docs/map-files.md.",
        examples=["/etc/grid-security/grid-mapfile"],
    )
    plugin: Plugin | None = Field(
        None,
        description="How LCMAPS would read `map_file`: the DN's account, the DN's pool, the account of the first FQAN "
        "that has one, or its pool.",
    )
    globus: Text | None = Field(
        None,
        description="Globus documents that give the account, by their name below `globus`; whom they do not map goes "
        "on to the next rule.",
        examples=["endpoint"],
    )
    primary_group: Account | None = Field(
        None, description="Group that the job has in place of its account's own.", examples=["cmsprod"]
    )
    secondary_groups: tuple[Account, ...] = Field(
        (), description="Further groups of the job; the account must be a member.", examples=[["cmsdata"]]
    )
    groupmapfile: AbsolutePath | None = Field(
        None,
        description="groupmapfile that gives the groups in place of the two keys above, as LCMAPS's voms_localgroup.",
        examples=["/etc/grid-security/groupmapfile"],
    )

    @field_validator("globus")
    @classmethod
    def set_is_declared(cls, globus: str | None, info: ValidationInfo) -> str | None:
        """Refuse a rule for Globus documents that the site does not have."""
        if globus is not None and globus not in declared_globus_sets(info):
            raise ValueError(f"{globus!r} is not the name of one of globus.sets")
        return globus

    @field_validator("account")
    @classmethod
    def account_is_of_no_pool(cls, account: str | None, info: ValidationInfo) -> str | None:
        """Refuse a fixed account that a pool would lend to someone else."""
        lent = account is not None and re.fullmatch(r"(.*?)[0-9]+", account)
        if lent and lent[1] in declared_pools(info):
            raise ValueError(f"account {account!r} is one that pool {lent[1]!r} lends")
        return account

    @model_validator(mode="after")
    def one_reading(self) -> Self:
        """Refuse a rule that could be read in two ways, or in none."""
        faults: list[tuple[tuple[str | int, ...], str]] = []
        outcomes = [key for key in OUTCOMES if getattr(self, key) is not None]
        if len(outcomes) != 1:
            given = " and ".join(outcomes) or "none of them"
            faults.append(((), f"needs exactly one of {', '.join(OUTCOMES)}; it has {given}"))
        if not any(getattr(self, key) for key in CONDITIONS) and not (self.map_file or self.globus):
            faults.append(
                ((), "needs dn or fqan, or another condition; use dn: '*' to match everyone with a certificate")
            )
        if (self.map_file is None) is not (self.plugin is None):
            faults.append(((), "map_file and plugin go together: plugin says how the file is read"))
        if self.subject and not self.issuer and (self.group or self.scope or self.audience):
            faults.append((("subject",), "the sub of a token means nobody without its issuer: add issuer"))
        faults += self._faults_of_groups()
        if faults:
            raise FaultsError(faults)
        return self

    def _faults_of_groups(self) -> list[tuple[tuple[str | int, ...], str]]:
        given = [key for key in GROUPS if getattr(self, key)]
        if given and self.refuse is not None:
            return [((given[0],), "who is refused has no groups")]
        if self.groupmapfile and len(given) > 1:
            return [((given[0],), "is what groupmapfile gives: leave one of them out")]
        return []
