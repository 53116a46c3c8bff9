"""The figures of a run for the textfile collector of Prometheus's node exporter (text format 0.0.4)."""

from __future__ import annotations

import time

from gridwarden import trusted

TYPE_CHECKING = False  # typing's own costs a quiet run 6 ms
if TYPE_CHECKING:
    from gridwarden.prune.report import Report


def write(path: str, report: Report) -> None:
    """Replace the file as one step; raises OSError, ConfigurationError when others could write there."""
    trusted.replace_file(path, text(report, time.time()).encode(), 0o644)


def text(report: Report, now: float) -> str:
    """The file: ``now`` in seconds since the epoch."""
    lines = _metric("last_run_timestamp_seconds", "When the last run ended.", {"": now})
    lines += _metric("duration_seconds", "How long the last run took.", {"": round(report.seconds, 3)})
    lines += _metric(
        "kills", "Whether the last run was one that kills (1) or only reports (0).", {"": int(report.acts)}
    )
    lines += _metric("unknown", "Batch systems that did not say which jobs run here.", {"": len(report.unknown)})
    counts: dict[str, float] = {f'{{action="{action}"}}': number for action, number in report.counts.items()}
    lines += _metric("things", "Processes and files of the last run, by what became of them.", counts)
    return "".join(f"{line}\n" for line in lines)


def _metric(name: str, meaning: str, values: dict[str, float]) -> list[str]:
    full = f"gridwarden_prune_{name}"
    return [
        f"# HELP {full} {meaning}",
        f"# TYPE {full} gauge",
        *(f"{full}{labels} {value}" for labels, value in values.items()),
    ]
