"""The declaration of the configuration: every key of site.yaml, what it means and what it may hold.

``load_settings`` reads files into it; the commented sample and docs/configuration.md are written from
it.  Only commands import this module: hooks read the node file (``gridwarden.node_file``).
"""

from __future__ import annotations

import grp
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

from gridwarden.accounting_settings import Accounting
from gridwarden.agent_settings import Agent
from gridwarden.credential_settings import Credentials
from gridwarden.directory_settings import Directories
from gridwarden.errors import ConfigurationError
from gridwarden.follow_settings import Followed
from gridwarden.globus_settings import Globus
from gridwarden.lease_settings import Leases
from gridwarden.pilot_settings import Pilot
from gridwarden.policy_settings import EXAMPLES, Rule
from gridwarden.prune_settings import Prune
from gridwarden.retention_settings import Retention
from gridwarden.setting_types import AbsolutePath, Account, FaultsError, Prefix, Section, StoreUrl, Text
from gridwarden.slurm_settings import Slurm
from gridwarden.token_settings import Tokens

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Settings(Section):
    """Everything that a site decides, as read from site.yaml and site.d."""

    site: Text = Field(description="Name of the site, as its peers know it.", examples=["EXAMPLE"])
    gridmapdir: AbsolutePath = Field(
        Path("/etc/grid-security/gridmapdir"),
        description="Directory of hard links that says who holds which pool account; shared with LCMAPS and Argus.",
    )
    pools: tuple[Prefix, ...] = Field(
        description="Pools of accounts: each a prefix, whose accounts are the prefix and digits. "
        "No prefix may begin with another, since older mapping programs would take the one's accounts for the other's.",
        examples=[["cms", "atlas"]],
    )
    policy: tuple[Rule, ...] = Field(
        description="Rules, in order; the first that matches decides. An identity that none matches is refused. "
        "docs/policy.md says more.",
        examples=[
            [
                {"dn": "/DC=org/DC=example/CN=Robot*", "refuse": "robots may not run here"},
                {"fqan": "/cms/Role=production", "account": "cmsprod"},
                {"fqan": "/cms", "pool": "cms"},
                {"fqan": "/atlas", "pool": "atlas"},
            ],
            EXAMPLES,
        ],
    )
    bans: tuple[AbsolutePath, ...] = Field(
        (Path("/etc/gridwarden/bans"),),
        description="Ban files in LCMAPS's grammar: a subject or FQAN pattern a line. Read anew at each decision; "
        "`gridwarden ban add` writes the first.",
    )
    ban_lists: tuple[AbsolutePath, ...] = Field(
        (Path("/etc/gridwarden/ban-list"),),
        description="Lists of bans that LCMAPS has no words for (issuer, `jti`, account, an end): docs/bans.md. "
        "Read anew at each decision; `gridwarden ban add` writes the first.",
    )
    followed: tuple[Followed, ...] = Field(
        (),
        description="Files of bans and of policy that somebody else publishes for the site: docs/bans.md.",
    )
    leases: Leases = Field(Leases(), description="How accounts are lent, and when they are lent to somebody else.")
    credentials: Credentials = Field(Credentials(), description="Where trust in credentials comes from.")
    tokens: Tokens = Field(Tokens(), description="Whose tokens are believed.")
    globus: Globus = Field(Globus(), description="How Globus identities come to accounts.")
    directories: Directories = Field(Directories(), description="Where gridwarden keeps its own files.")
    holders_group: Account = Field(
        "slurm", description="Group that may read who holds an account: the one the batch system's controller runs as."
    )
    scratch: tuple[AbsolutePath, ...] = Field(
        (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")),  # noqa: S108  these are what is to be cleaned
        description="Directories in which what an account left is removed: by the epilog of its last job there, "
        "and by `gridwarden-prune`.",
    )
    prune: Prune = Field(Prune(), description="What `gridwarden-prune` clears away on a node, and what it spares.")
    pilot: Pilot = Field(Pilot(), description="Who may run payloads as their owners, and how those run.")
    slurm: Slurm = Field(description="The Slurm cluster that this site's jobs run in.")
    agent: Agent = Field(Agent(), description="What the node agent takes of each user, and how often it looks around.")
    accounting: Accounting = Field(Accounting(), description="Accounting files of batch systems that are read.")
    store: StoreUrl = Field(
        "sqlite:////var/lib/gridwarden/store.sqlite",
        description="Database of collected records: a file on this machine, or a PostgreSQL database for a site, "
        "such as `postgresql://gridwarden@db.example.org/gridwarden?sslmode=verify-full`: docs/store.md. "
        "Used by collect, report, store and whoran only.",
    )
    retention: Retention = Field(Retention(), description="How long the store keeps what was collected: docs/store.md.")

    @field_validator("pools", "policy", mode="before")
    @classmethod
    def not_empty(cls, value: object) -> object:
        """Refuse an empty list: nobody could ever be mapped."""
        if value == []:
            raise ValueError("must not be empty")
        return value

    @model_validator(mode="after")
    def followed_apart(self) -> Self:
        """Refuse to follow a file into one that ``gridwarden ban`` writes, or into two."""
        own = (*self.bans[:1], *self.ban_lists[:1])
        paths = [followed.path for followed in self.followed]
        faults: list[tuple[tuple[str | int, ...], str]] = [
            (("followed", place, "path"), "is a file that gridwarden ban add writes" if path in own else "stands twice")
            for place, path in enumerate(paths)
            if path in own or path in paths[:place]
        ]
        if faults:
            raise FaultsError(faults)
        return self

    @model_validator(mode="after")
    def bans_apart(self) -> Self:
        """Refuse one file in both grammars: as either, the lines of the other are faults, and everybody is refused."""
        if both := [place for place, path in enumerate(self.ban_lists) if path in self.bans]:
            raise FaultsError([(("ban_lists", place), "is one of bans, too; its lines are others") for place in both])
        return self

    @field_validator("pools")
    @classmethod
    def pools_apart(cls, pools: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse prefixes under which an account could belong to two pools."""
        faults: list[tuple[tuple[str | int, ...], str]] = []
        for index, pool in enumerate(pools):
            faults.extend(
                ((index,), f"pool {pool!r} begins with pool {other!r}: accounts would belong to both")
                for place, other in enumerate(pools)
                if place != index and pool.startswith(other) and (pool != other or place < index)
            )
        if faults:
            raise FaultsError(faults)
        return pools

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Return the settings that plain ``values`` make; raises pydantic's ValidationError with every fault.

        A rule is judged beside the pools and sets of Globus files even when other rules, or other keys, are faulty.
        """
        return cls.model_validate(values, context={"pools": values.get("pools"), "globus": values.get("globus")})

    @property
    def keys_directory(self) -> Path:
        """Where the keys are that were fetched from issuers."""
        return self.directories.state / "keys"

    @property
    def pseudonym_key(self) -> Path:
        """Where the key is that makes pseudonyms of identities."""
        return self.directories.state / "pseudonym-key"

    @property
    def holders_directory(self) -> Path:
        """Where the holder files are."""
        return self.directories.runtime / "holders"

    @property
    def register_directory(self) -> Path:
        """Where the register of running jobs is."""
        return self.directories.runtime / "jobs"

    @property
    def payloads_directory(self) -> Path:
        """Where the state files of running payloads are."""
        return self.directories.runtime / "payloads"

    @property
    def agent_socket(self) -> Path:
        """Where the agent listens."""
        return self.directories.runtime / "agent"

    @property
    def locks_directory(self) -> Path:
        """Where the locks of the accounts are."""
        return self.directories.runtime / "locks"

    @property
    def holds_directory(self) -> Path:
        """Where the hold files are: one an account of which nothing may be killed or deleted."""
        return self.directories.state / "holds"

    @property
    def globus_directory(self) -> Path:
        """Where the last good set of each name below ``globus`` is kept."""
        return self.directories.state / "globus"

    @property
    def ledger_directory(self) -> Path:
        """Where the ledger is."""
        return self.directories.state / "ledger"

    def holders_gid(self) -> int:
        """Return the gid of ``holders_group``; raises ConfigurationError when this machine has no such group."""
        try:
            return grp.getgrnam(self.holders_group).gr_gid
        except KeyError:
            raise ConfigurationError(
                f"holders_group: there is no group {self.holders_group!r} on this machine",
                "name the group that the batch system's controller runs as (SlurmUser's)",
            ) from None


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a key holds, alone or as the items of a list; None for a plain value."""
    for annotation in (field.annotation, *get_args(field.annotation)):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None
