"""The declaration of the section ``accounting``: which files the collector reads."""

from __future__ import annotations

import pwd

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Account, Section


class Accounting(Section):
    """The accounting of batch systems and of the kernel, as far as it is in files: docs/accounting.md."""

    files: tuple[AbsolutePath, ...] = Field(
        (),
        description="Files that `gridwarden collect` reads, as shell patterns: accounting logs of OpenPBS and Torque; history, "
        "per-job history and epoch history of HTCondor; output of `sacct --json`; process accounting of this machine's kernel. "
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

    def owner_uids(self) -> frozenset[int]:
        """Return the uids of those owners that this machine knows."""
        return frozenset(entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in self.owners)
