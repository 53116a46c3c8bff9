"""The declaration of the section ``policy``: whom a rule matches, and what becomes of them."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gridwarden.setting_types import Account, FaultsError, Section, Text


def declared_pools(info: ValidationInfo) -> list[object]:
    """Return what the site gives as ``pools``, faulty or not."""
    pools = (info.context or {}).get("pools")
    return pools if isinstance(pools, list) else []


class Rule(Section):
    """One rule of the policy: whom it matches, and what becomes of them.

    A rule with both ``dn`` and ``fqan`` needs both to match.
    """

    dn: Text | None = Field(
        None,
        description="Pattern that the subject must match, in slash form; case-sensitive, `*` crosses `/`.",
        examples=["/DC=org/DC=example/CN=Robot*"],
    )
    fqan: Text | None = Field(
        None,
        description="Pattern that one of the VOMS attributes must match; case-sensitive, `*` crosses `/`. "
        "Every member of a VO has `/VO` itself; `/VO*` would also match another VO whose name goes on.",
        examples=["/cms/Role=production"],
    )
    pool: str | None = Field(None, description="Pool that lends an account to the identity.", examples=["cms"])
    account: Account | None = Field(
        None, description="Fixed account for every identity that matches.", examples=["cmsprod"]
    )
    refuse: Text | None = Field(
        None, description="Sentence with which the identity is refused.", examples=["robots may not run here"]
    )

    @field_validator("pool")
    @classmethod
    def pool_is_declared(cls, pool: str | None, info: ValidationInfo) -> str | None:
        """Refuse a rule for a pool that the site does not have."""
        if pool is not None and pool not in declared_pools(info):
            raise ValueError(f"pool {pool!r} is not one of pools")
        return pool

    @field_validator("account")
    @classmethod
    def account_is_of_no_pool(cls, account: str | None, info: ValidationInfo) -> str | None:
        """Refuse a fixed account that a pool would lend to someone else."""
        lent = account is not None and re.fullmatch(r"(.*?)[0-9]+", account)
        if lent and lent[1] in declared_pools(info):
            raise ValueError(f"account {account!r} is one that pool {lent[1]!r} lends")
        return account

    @model_validator(mode="after")
    def one_condition_one_outcome(self) -> Self:
        """Refuse a rule that could be read in two ways, or in none."""
        faults: list[tuple[tuple[str | int, ...], str]] = []
        outcomes = [key for key in ("pool", "account", "refuse") if getattr(self, key) is not None]
        if len(outcomes) != 1:
            given = " and ".join(outcomes) or "none of them"
            faults.append(((), f"needs exactly one of pool, account, refuse; it has {given}"))
        if self.dn is None and self.fqan is None:
            faults.append(((), "needs dn or fqan, or both; use fqan: '*' or dn: '*' to match everyone"))
        if faults:
            raise FaultsError(faults)
        return self
