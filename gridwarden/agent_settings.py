"""The declaration of the section ``agent``: what `gridwarden-agent` takes of whom, and how often it looks."""

from __future__ import annotations

from pydantic import Field

from gridwarden.setting_types import AbsolutePath, Account, Seconds, Section


class Agent(Section):
    """What the node agent takes of each user, and how often it looks around: docs/agent.md."""

    messages_per_second: int = Field(
        10, strict=True, ge=1, description="Messages a second that are taken of one user, in the long run."
    )
    messages_at_once: int = Field(
        200, strict=True, ge=1, description="Messages that are taken of one user who has been silent before."
    )
    connections: int = Field(
        16, strict=True, ge=1, description="Connections that one user may have open; more are closed, and counted."
    )
    reserve_megabytes: int = Field(
        64,
        strict=True,
        ge=0,
        description="Room on the ledger's file system that is left to evidence: with less, nothing is taken of senders but "
        "starts and ends of jobs.",
        json_schema_extra={"unit": "MiB"},
    )
    poll_seconds: Seconds = Field(
        30,
        description="How often the gridmapdir is looked at for leases made and ended elsewhere. 0: never.",
    )
    held_jobs_seconds: Seconds = Field(
        3,
        le=5,
        description="How often slurmctld, where it runs on this machine, is asked for jobs that job_submit.lua held because "
        "nobody was known behind them. 0: never.",
    )
    heads_seconds: Seconds = Field(
        60,
        gt=0,
        le=60,
        description="How often at most the ledger's last line is told to syslog, and sent to the store, if there is a new one.",
    )
    heads_to_store: bool = Field(
        default=True,
        strict=True,
        description="Whether the ledger's last line is sent to the store, too: to a PostgreSQL database, or to a file that is there.",
    )
    process_accounting: AbsolutePath | None = Field(
        None,
        description="File to which this machine's kernel writes process accounting: looked at every half minute, with a gap record "
        "when the kernel has stopped, as it does on a full disk.",
        examples=["/var/log/account/pacct"],
    )
    prometheus: AbsolutePath | None = Field(
        None,
        description="File for the textfile collector of Prometheus's node exporter, written every 15 seconds.",
        examples=["/var/lib/prometheus/node-exporter/gridwarden-agent.prom"],
    )
    readers: Account | None = Field(
        None,
        description="Group whose members may ask `gridwarden agent ask` who is behind a process or an account; each question "
        "is recorded. Without it only root may.",
        examples=["gridadmins"],
    )

    def node_pairs(self, socket: str, store: str) -> list[tuple[str, str]]:
        """Return what the node file says of this section; ``socket`` is the agent's path, ``store`` the store's URL."""
        return [
            ("agent_socket", socket),
            ("agent_messages_per_second", str(self.messages_per_second)),
            ("agent_messages_at_once", str(self.messages_at_once)),
            ("agent_connections", str(self.connections)),
            ("agent_reserve_megabytes", str(self.reserve_megabytes)),
            ("agent_poll_seconds", f"{self.poll_seconds:g}"),
            ("agent_held_jobs_seconds", f"{self.held_jobs_seconds:g}"),
            ("agent_heads_seconds", f"{self.heads_seconds:g}"),
            *([("agent_heads_store", store)] if self.heads_to_store else []),
            *([("agent_process_accounting", str(self.process_accounting))] if self.process_accounting else []),
            *([("agent_prometheus", str(self.prometheus))] if self.prometheus else []),
            *([("agent_readers", self.readers)] if self.readers else []),
        ]
