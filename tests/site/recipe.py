"""What goes into the cached roots of the test site, one for each suite of Debian, and the digest that names each.

Configuration files are not part of it: they lie in `tests/site/root/` (and what a suite has of its own in
`tests/site/root-SUITE/`) and are laid over the root each time a site comes up, so that changing one costs no rebuild.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]


class Suite(NamedTuple):
    """A suite of Debian, and what is installed of it."""

    name: str
    packages: tuple[str, ...]


# Slurm and what it needs, gridwarden's own Python, and what makes credentials.
SLURM_PACKAGES = (
    "iproute2",
    "mariadb-server",
    "munge",
    "openssl",
    "procps",
    "psmisc",
    "python3",
    "python3-venv",
    "rsyslog",
    "slurm-wlm",
    "slurmdbd",
    "voms-clients",
)
FURTHER_PACKAGES = (
    "at",
    "condor",
    "cron",
    "lcmaps-plugins-basic-bandn",
    "lcmaps-plugins-basic-localaccount",
    "lcmaps-plugins-basic-poolaccount",
    "lcmaps-plugins-voms",
    "liblcmaps-without-gsi0t64",
    "postgresql",
    "sudo",
)
TRIXIE = Suite("trixie", (*SLURM_PACKAGES, *FURTHER_PACKAGES))
BOOKWORM = Suite("bookworm", (*SLURM_PACKAGES, "sudo"))  # Slurm 22.05, Python 3.11
SUITES = {suite.name: suite for suite in (TRIXIE, BOOKWORM)}
TEST_REQUIREMENTS = (
    "click-man", "cryptography", "globus-identity-mapping", "hypothesis", "psycopg[binary]", "PyJWT", "pytest",
    "pytest-rerunfailures",
)  # fmt: skip

POOLS = {"cms": 2100, "atlas": 2200}
POOL_SIZE = 20
USERS = {"pilotcms": 2001, "pilotatlas": 2002, "alice": 2011, "bob": 2012, "cmsprod": 2051}

# Runs inside the root once its packages are there. Whatever a daemon would make anew at its first start, and
# whatever only apt needs, is dropped.
BAKE = """\
set -eu
while read -r name uid; do useradd --create-home --user-group --uid "$uid" --shell /bin/bash "$name"; done
python3 -m venv --without-pip /opt/gridwarden
ln -s /opt/gridwarden/bin/gridwarden /opt/gridwarden/bin/gridwarden-prune /opt/gridwarden/bin/whoran \
    /opt/gridwarden/bin/pytest /usr/local/bin/
rm -rf /etc/postgresql/*/main /var/lib/postgresql/*/main
rm -rf /var/cache/apt/archives/*.deb /var/cache/apt/*.bin /var/lib/apt/lists/* /var/log/* /usr/share/doc/*
rm -f /etc/resolv.conf /usr/sbin/policy-rc.d
mkdir -p /src /var/log/slurm /var/spool/slurmctld /var/spool/slurmd
mkdir -p /etc/grid-security/gridmapdir /etc/grid-security/certificates /etc/grid-security/vomsdir
chown slurm:slurm /var/log/slurm /var/spool/slurmctld
"""


def accounts() -> dict[str, int]:
    """Every account of the site and its uid: pools (`cms001` is 2101), pilots and ordinary users."""
    pooled = {f"{pool}{n:03}": base + n for pool, base in POOLS.items() for n in range(1, POOL_SIZE + 1)}
    return USERS | pooled


def requirements() -> tuple[str, ...]:
    """What the site's venv holds: gridwarden's dependencies, what builds its wheel, what runs its tests."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    return (*project["project"]["dependencies"], *project["build-system"]["requires"], *TEST_REQUIREMENTS)


def cache_directory() -> Path:
    return Path(os.environ.get("GRIDWARDEN_SITE_CACHE", "/var/cache/gridwarden-site"))


def digest(suite: Suite) -> str:
    """Names a root: 16 hex digits over all that decides what is in it."""
    build_steps = (Path(__file__).with_name("build.py")).read_text()
    parts = [suite, sorted(accounts().items()), requirements(), BAKE, build_steps]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def root_directory(suite: Suite = TRIXIE) -> Path:
    return cache_directory() / f"root-{digest(suite)}"
