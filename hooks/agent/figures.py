"""The agent's figures for the textfile collector of Prometheus's node exporter (text format 0.0.4)."""

from __future__ import annotations

from gridwarden import trusted
from gridwarden.errors import ConfigurationError

MEANINGS = {
    "stored_total": "Records that the agent has put on disk since it started.",
    "declared_total": "Messages of nobody's job that anybody knows, stored as declarations.",
    "dropped_total": "Messages and connections of senders beyond their limits, dropped.",
    "held": "Records that wait in memory for room on the disk.",
    "connections": "Open connections.",
    "jobs": "Jobs whose starter is watched for its end.",
    "leases": "Leases in the gridmapdir when it was last read.",
    "gridmapdir_up": "Whether the gridmapdir could be read when that was last tried.",
    "ledger_up": "Whether the ledger could be written when that was last tried.",
    "store_up": "Whether the ledger's last line could be sent to the store when that was last tried.",
    "start_timestamp_seconds": "When the agent started.",
}
"""Every metric of the agent's own, after gridwarden_agent_, and what it means."""


def write(path: str, values: dict[str, float]) -> None:
    """Replace the file as one step; where that cannot be done the old one shows its age."""
    try:
        trusted.replace_file(path, text(values).encode(), 0o644)
    except (OSError, ConfigurationError):
        pass


def text(values: dict[str, float]) -> str:
    """The file; what other parts of the agent count has no help."""
    lines = []
    for name, value in values.items():
        full = f"gridwarden_agent_{name}"
        if name in MEANINGS:
            lines.append(f"# HELP {full} {MEANINGS[name]}")
        lines += [f"# TYPE {full} {'counter' if name.endswith('_total') else 'gauge'}", f"{full} {value}"]
    return "".join(f"{line}\n" for line in lines)
