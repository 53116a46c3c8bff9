"""The declaration of the section ``slurm``: the cluster, and what its hooks do when they cannot do their work."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Account, OnEpilogFailure, OnPrologFailure, Section, SpoolPath, Text


class Slurm(Section):
    """The Slurm cluster that this site's jobs run in."""

    cluster: Text = Field(description="ClusterName of slurm.conf, as sacct prints it.", examples=["site"])
    programs: AbsolutePath = Field(
        Path("/usr/bin"), description="Directory of sbatch, scontrol, squeue, scancel and sacct."
    )
    user: Account = Field("slurm", description="SlurmUser of slurm.conf: whose slurmctld the agent listens to.")
    spool: SpoolPath = Field(
        "/var/spool/slurmd",
        description="SlurmdSpoolDir of slurm.conf; `%n` stands for the node's name, `%h` for its host's without domain.",
        examples=["/var/spool/slurmd/%n"],
    )
    script_maximum_bytes: int = Field(
        4194304,
        strict=True,
        gt=0,
        description="Largest job script that `gridwarden submit` takes; Slurm's own limit is max_script_size.",
        json_schema_extra={"unit": "bytes"},
    )
    prolog_on_failure: OnPrologFailure = Field(
        "record-gap", description="What the prolog does with a job when it cannot do its own work."
    )
    epilog_on_failure: OnEpilogFailure = Field(
        "record-gap", description="What the epilog does when it cannot do its own work."
    )
    hook_seconds: int = Field(
        100,
        strict=True,
        ge=20,
        description="The longest that prolog and epilog may take, whatever they wait for: less than PrologEpilogTimeout of "
        "slurm.conf. The last 30 of them are for what `…_on_failure` asks for.",
        json_schema_extra={"unit": "seconds"},
    )
