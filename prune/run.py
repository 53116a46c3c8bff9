"""What every run of the pruner is, however it was started: a sweep as the site wants it, and word of it."""

from __future__ import annotations

import os

from gridwarden import off, syslog_line
from gridwarden.errors import GridwardenError, Unavailable
from gridwarden.prune.report import FROZEN, KILLED, LEFT, QUARANTINED, REMOVED
from gridwarden.prune.sweep import sweep

TYPE_CHECKING = False  # typing's own costs a quiet run 6 ms
if TYPE_CHECKING:
    from gridwarden.prune.machine import Site
    from gridwarden.prune.report import Report

DEFAULT_SECONDS = 60.0


def refuse_others_than_root() -> None:
    """Raise Unavailable: whoever else asks hears half of what runs here."""
    if os.geteuid() != 0:
        raise Unavailable("only root can tell what runs here and for whom", "run it as root: sudo gridwarden-prune")


def prune(site: Site, *, dry_run: bool) -> Report:
    """Sweep this machine by its node file, and tell syslog and Prometheus; a dry run does neither kill nor tell.

    Raises as ``sweep`` does, and OSError or ConfigurationError when Prometheus's file cannot be written.
    """
    refuse_others_than_root()
    seconds = float(site.get("prune_seconds", [DEFAULT_SECONDS])[0])
    try:
        kill = site.get("prune_kill") == ["yes"] and not dry_run and off.switch(off.PRUNE) is None
        report = sweep(site, kill=kill, seconds=seconds)
    except GridwardenError as error:
        if not dry_run:
            syslog_line.decision("prune", "failed", detail=str(error))
        raise
    if not dry_run:
        _tell_syslog(report)
        for path in site.get("prune_prometheus", []):
            from gridwarden.prune import prometheus  # noqa: PLC0415 - not every site wants it

            prometheus.write(path, report)
    return report


def _tell_syslog(report: Report) -> None:
    counts = report.counts
    syslog_line.decision(
        "prune",
        "unknown" if report.unknown else "swept" if report.acts else "reported",
        detail=report.summary(),
        strays=report.strays(),
        killed=counts[KILLED],
        frozen=counts[FROZEN],
        files=counts[REMOVED] + counts[QUARANTINED],
        left=counts[LEFT],
        seconds=f"{report.seconds:.3f}",
    )
