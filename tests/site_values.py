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
