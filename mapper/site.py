"""What the mapper needs to know of its site, as plain values that cost nothing to import."""

from __future__ import annotations

import os

from gridwarden.mapper.accepted import UNLIMITED, Accepted
from gridwarden.mapper.globus_values import GlobusValues, from_globus
from gridwarden.mapper.pilot_values import PilotValues, from_pilot
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.token_values import TokenValues, from_tokens
from gridwarden.values import NamedTuple, plain

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.credential_settings import Credentials
    from gridwarden.settings import Settings


class LeaseValues(NamedTuple):
    """The section ``leases`` of site.yaml, whose meaning gridwarden/lease_settings.py declares."""

    name: str = "dn"
    groupmapfile: str | None = None
    slots: int = 0
    adopted: str = "follow"
    warn_at_percent: int = 90
    idle_days: int = 30
    cooling_hours: int = 24
    nodes: tuple[str, ...] = ()
    answer_hours: int = 2
    homes: str = "rebuild"
    skeleton: str | None = None
    system_groups: tuple[str, ...] = ()


class SiteValues(NamedTuple):
    """The site as the mapper sees it; ``holders_group`` is a gid, ``node`` the name of this machine."""

    site: str
    node: str
    cluster: str
    gridmapdir: str
    rules: Sequence[Rule]
    bans: tuple[str, ...]
    certificates: str
    vomsdir: str
    limited_proxies: bool
    verify_seconds: float
    holders: str
    holders_group: int
    register: str
    ledger: str
    holds: str
    leases: LeaseValues = LeaseValues()
    tokens: TokenValues = TokenValues()
    ban_lists: tuple[str, ...] = ()
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
        gridmapdir=str(settings.gridmapdir),
        rules=IndexedRules(Rule(**plain(rule.model_dump())) for rule in settings.policy),
        bans=tuple(map(str, settings.bans)),
        certificates=str(settings.credentials.certificates),
        vomsdir=str(settings.credentials.vomsdir),
        limited_proxies=settings.credentials.limited_proxies,
        verify_seconds=settings.credentials.verify_seconds,
        holders=str(settings.holders_directory),
        holders_group=settings.holders_gid(),
        register=str(settings.register_directory),
        ledger=str(settings.ledger_directory),
        holds=str(settings.holds_directory),
        leases=LeaseValues(**plain(dict(settings.leases))),
        tokens=from_tokens(settings.tokens, settings.keys_directory),
        ban_lists=tuple(map(str, settings.ban_lists)),
        accepted=accepted_of(settings.credentials),
        pools=settings.pools,
        globus=from_globus(settings.globus, settings.globus_directory),
        callers=settings.credentials.callers,
        pilot=from_pilot(settings.pilot),
    )
