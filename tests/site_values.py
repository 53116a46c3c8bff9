"""A site's values with paths as tests go on from them; the mapper's own are text."""

from __future__ import annotations

from pathlib import Path

from gridwarden.load_settings import load
from gridwarden.mapper.site import SiteValues, from_settings

PATHS = ("gridmapdir", "certificates", "vomsdir", "holders", "register", "ledger", "holds")


def with_paths(site: SiteValues) -> SiteValues:
    return site._replace(**{name: Path(getattr(site, name)) for name in PATHS})


def values_of(path: str | Path = "/etc/gridwarden/site.yaml") -> SiteValues:
    return with_paths(from_settings(load(Path(path))))


def node_values(base: Path, **others: str) -> dict[str, str]:
    """What the node file of a machine below ``base`` says, whose pool is ``gwtest``; ``others`` in place, or besides."""
    return {
        "site": "TEST",
        "cluster": "site",
        "pool": "gwtest",
        "holders": f"{base}/holders",
        "register": f"{base}/jobs",
        "locks": f"{base}/locks",
        "ledger": f"{base}/ledger",
        "gridmapdir": f"{base}/gridmapdir",
        "gridmapdir_local": "yes",
        "scratch": f"{base}/scratch",
        "slurm_programs": f"{base}/programs",
        "slurm_spool": f"{base}/spool/%n",
        "prolog_on_failure": "record-gap",
        "epilog_on_failure": "record-gap",
    } | others
