"""Whom a site trusts for a VO: LSC files, ``VOMSDIR/VO/HOST.lsc``.

Each holds the name of the VO's server certificate, that of its issuer, and so on, a line each, several such chains apart
by ``------ NEXT CHAIN ------``.
"""

from __future__ import annotations

import os

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.site_files import readable
from gridwarden.mapper.spelling import plain, spellings

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from gridwarden.mapper.site_files import SiteFiles

NEXT_CHAIN = "------ NEXT CHAIN ------"
MAXIMUM_LSC = 64 * 1024


def trusted_chains(vo: str, host: str, vomsdir: str, files: SiteFiles) -> list[list[str]]:
    """The chains of names that the site's LSC file for this server lists; raises Refused and ConfigurationError."""
    path = os.path.join(vomsdir, vo, f"{host}.lsc")
    try:
        files.require_trusted(path)
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAXIMUM_LSC)
    except FileNotFoundError:
        raise Refused(reasons.VOMS_UNTRUSTED, f"this site does not trust {host} for {vo}: no {path}") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the verifier (uid {os.geteuid()}) may not read it", readable(path)
        ) from error
    chains = [[line.strip().strip('"') for line in part.splitlines()] for part in text.split(NEXT_CHAIN)]
    return [names for chain in chains if len(names := [plain(name) for name in chain if name]) > 1]


def begins(whole: list[str], start: list[str]) -> bool:
    """Whether the chain of names ``whole`` begins as ``start``, however each name is spelled."""
    return len(whole) >= len(start) and all(map(_same, whole, start))


def _same(one: str, other: str) -> bool:
    return not {plain(name) for name in spellings(one)}.isdisjoint([plain(name) for name in spellings(other)])
