"""What the mapper needs to know of its site, as plain values that cost nothing to import."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.mapper.accepted import UNLIMITED, Accepted
from gridwarden.mapper.globus_values import GlobusValues, from_globus
from gridwarden.mapper.pilot_values import PilotValues, from_pilot
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.token_values import TokenValues, from_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gridwarden.credential_settings import Credentials
    from gridwarden.settings import Settings


class LeaseValues(NamedTuple):
    """The section ``leases`` of site.yaml, whose meaning gridwarden/lease_settings.py declares."""

    name: str = "dn"
    groupmapfile: Path | None = None
    slots: int = 0
    adopted: str = "follow"
    warn_at_percent: int = 90
    idle_days: int = 30
    cooling_hours: int = 24
    nodes: tuple[str, ...] = ()
    answer_hours: int = 2
    homes: str = "rebuild"
    skeleton: Path | None = None
    system_groups: tuple[str, ...] = ()


class SiteValues(NamedTuple):
    """The site as the mapper sees it; ``holders_group`` is a gid, ``node`` the name of this machine."""

    site: str
    node: str
    cluster: str
    gridmapdir: Path
    rules: Sequence[Rule]
    bans: tuple[Path, ...]
    certificates: Path
    vomsdir: Path
    limited_proxies: bool
    verify_seconds: float
    holders: Path
    holders_group: int
    register: Path
    ledger: Path
    holds: Path
    leases: LeaseValues = LeaseValues()
    tokens: TokenValues = TokenValues()
    ban_lists: tuple[Path, ...] = ()
    accepted: Accepted = Accepted()
    pools: tuple[str, ...] = ()
    globus: GlobusValues = GlobusValues()
    callers: tuple[str, ...] = ()
    pilot: PilotValues = PilotValues()


def accepted_of(credentials: Credentials) -> Accepted:
    """What the section ``credentials`` accepts of X.509."""
    return Accepted(
        missing_revocation_list=credentials.missing_revocation_list == "accept",
        missing_signing_policy=credentials.missing_signing_policy == "accept",
        legacy_proxies=credentials.legacy_proxies,
        proxy_hours=credentials.proxy_hours,
        leaf_proxy_hours=credentials.leaf_proxy_hours or UNLIMITED,
        voms_hours=credentials.voms_hours or UNLIMITED,
    )


def from_settings(settings: Settings) -> SiteValues:
    """The mapper's part of site.yaml; raises ConfigurationError when ``holders_group`` does not exist."""
    return SiteValues(
        site=settings.site,
        node=os.uname().nodename,
        cluster=settings.slurm.cluster,
        gridmapdir=settings.gridmapdir,
        rules=IndexedRules(Rule(**rule.model_dump()) for rule in settings.policy),
        bans=settings.bans,
        certificates=settings.credentials.certificates,
        vomsdir=settings.credentials.vomsdir,
        limited_proxies=settings.credentials.limited_proxies,
        verify_seconds=settings.credentials.verify_seconds,
        holders=settings.holders_directory,
        holders_group=settings.holders_gid(),
        register=settings.register_directory,
        ledger=settings.ledger_directory,
        holds=settings.holds_directory,
        leases=LeaseValues(**dict(settings.leases)),
        tokens=from_tokens(settings.tokens, settings.keys_directory),
        ban_lists=settings.ban_lists,
        accepted=accepted_of(settings.credentials),
        pools=settings.pools,
        globus=from_globus(settings.globus, settings.globus_directory),
        callers=settings.credentials.callers,
        pilot=from_pilot(settings.pilot),
    )
