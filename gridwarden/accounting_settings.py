"""The declaration of the section ``accounting``: which files the collector reads."""

from __future__ import annotations

import pwd
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Account, Section, Text

Factor = Annotated[float, Field(gt=0, lt=1_000_000)]


class NodeClass(Section):
    """Nodes that are alike: a job's class is kept with it, since nodes are replaced and keep their names."""

    nodes: Text = Field(
        description="Their names, as a shell pattern; the first class that fits counts.", examples=["wn0*"]
    )
    name: Text = Field(description="What the site calls them.", examples=["epyc-7452"])
    value: Factor | None = Field(
        None,
        description="What one core of them does in `accounting.apel.benchmark`; not set: `accounting.apel.value`.",
        examples=[17.2],
    )


class SlotAccount(Section):
    """An account under which HTCondor runs whatever is in a slot (`SLOT1_1_USER`)."""

    account: Account = Field(description="The account.", examples=["slot1_1"])
    slot: Text = Field(description="The slot, as HTCondor's history has it before the @.", examples=["slot1_1"])
    nodes: Text = Field("*", description="On which nodes, as a shell pattern.", examples=["wn0*"])


class Apel(Section):
    """What APEL's messages say of the site: `gridwarden export`."""

    site: Text | None = Field(None, description="The site's name in GOCDB. Not set: `site`.", examples=["EXAMPLE-SITE"])
    submit_host: Text | None = Field(
        None,
        description="SubmitHost of jobs whose own record names none, as Slurm's: the computing element.",
        examples=["ce01.example.org:9619/ce01.example.org-condor"],
    )
    benchmark: Literal["hepscore23", "hepspec", "si2k"] = Field(
        "hepscore23", description="Of which benchmark `value` is: ServiceLevelType."
    )
    value: Factor | None = Field(
        None,
        description="What one core does in it, on nodes whose class says nothing else: ServiceLevel. Not set: messages name none.",
        examples=[15.4],
    )


class Accounting(Section):
    """The accounting of batch systems and of the kernel, as far as it is in files: docs/accounting.md."""

    files: tuple[AbsolutePath, ...] = Field(
        (),
        description="Files that `gridwarden collect` reads, as shell patterns: accounting logs of OpenPBS and Torque; history, "
        "per-job history and epoch history of HTCondor; output of `sacct --json`; process accounting of this machine's kernel; "
        "syslog, for what LCMAPS and gLExec say in it, and logs of LCMAPS, BLAH and HTCondor-CE. "
        "Compressed ones, too. Name rotated ones with the one that grows.",
        examples=[
            ["/var/spool/pbs/server_priv/accounting/*", "/var/spool/torque/server_priv/accounting/*"],
            ["/var/lib/condor/spool/history*", "/var/lib/condor/spool/epoch_history*"],
            ["/var/log/account/pacct*"],
        ],
    )
    owners: tuple[Account, ...] = Field(
        ("condor",),
        description="Accounts besides root whose accounting files are believed. A file that others could have written is refused.",
    )

    schedds: tuple[Text, ...] = Field(
        (),
        description="Schedds of HTCondor whose history and epoch history `gridwarden collect` asks for through HTCondor's Python "
        "bindings: names as in `condor_status -schedd`, or `local` for this machine's. Those whose files stand in `files` need it not.",
        examples=[["local"]],
    )
    node_classes: tuple[NodeClass, ...] = Field((), description="Nodes that are alike, by their names.")
    slot_accounts: tuple[SlotAccount, ...] = Field(
        (), description="Accounts of HTCondor's slots: whoran says of one whose job the slot had at a time."
    )
    apel: Apel = Field(Apel(), description="What APEL's messages say of the site.")

    def owner_uids(self) -> frozenset[int]:
        """Return the uids of those owners that this machine knows."""
        return frozenset(entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in self.owners)

    def class_of(self, node: str) -> str:
        """Return the name of a node's class, empty where it has none."""
        return next((each.name for each in self.node_classes if fnmatchcase(node, each.nodes)), "")

    def slot_account(self, node: str, slot: str) -> str:
        """Return the account of a slot, empty where it has none of its own."""
        found = (each for each in self.slot_accounts if slot and each.slot == slot and fnmatchcase(node, each.nodes))
        return next((each.account for each in found), "")

    def value_of(self, node_class: str) -> float | None:
        """Return what a core of such nodes does in APEL's benchmark."""
        values = (each.value for each in self.node_classes if each.name == node_class)
        return next((value for value in values if value is not None), self.apel.value)
