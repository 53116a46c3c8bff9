"""The site's values, read as fast as a hook needs them: from a copy made of the same site.yaml before.

Reading and judging site.yaml takes ten times as long as starting Python.  The copy says of which files it was made, down
to the time of their last change (ctime, which chmod and rename set too) and gridwarden's version; where anything differs
it is made anew, so a change of site.yaml counts at once.  It is trusted as site.yaml is.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import gridwarden
from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.globus_values import GlobusSet, GlobusValues
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.site import LeaseValues, SiteValues, from_settings
from gridwarden.mapper.token_values import IdtokenIssuer, Issuer, TokenValues

CLASSES = {
    kind.__name__: kind
    for kind in (SiteValues, LeaseValues, Rule, TokenValues, Issuer, IdtokenIssuer, GlobusValues, GlobusSet)
}
LONGEST = 64 * 1024 * 1024
GROUPS = "/etc/group"  # from which holders_group has its number
SETTLED_NS = 2_000_000_000  # a second change within a clock tick could not be told from the first


def load(path: Path) -> SiteValues:
    """The values of the site.yaml at ``path``; raises ConfigurationError as reading it does."""
    copy = path.with_suffix(".compiled")
    made_of = _sources(path)
    try:
        document = json.loads(trusted.read_file(copy, LONGEST)) if os.path.lexists(copy) else {}
        if document.get("made_of") == made_of:
            site: SiteValues = from_plain(document["site"])
            return site._replace(node=os.uname().nodename)
    except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError):
        pass  # site.yaml itself decides
    from gridwarden.load_settings import load as load_settings  # noqa: PLC0415 - what the copy saves us

    site = from_settings(load_settings(path))
    newest = max(changed for _, _, _, changed in made_of[1])
    if os.geteuid() == 0 and made_of == _sources(path) and time.time_ns() - newest > SETTLED_NS:
        try:
            trusted.replace_file(copy, json.dumps({"made_of": made_of, "site": to_plain(site)}).encode(), 0o600)
        except OSError:
            pass  # a read-only /etc costs time and nothing else
    return site


def _sources(path: Path) -> list[Any]:
    """What the values are made of: gridwarden's version, and name, inode, size and last change of each file."""
    directory = path.with_suffix(".d")
    files = [str(path), GROUPS]
    if os.path.lexists(directory):
        os.close(trusted.open_directory(directory))
        files += sorted(str(directory / name) for name in os.listdir(directory))
    return [gridwarden.__version__, [_source(file) for file in files]]


def _source(file: str) -> list[Any]:
    descriptor = trusted.open_file(file)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return [file, status.st_ino, status.st_size, status.st_ctime_ns]


def to_plain(value: object) -> object:
    """``value`` as JSON can write it; raises TypeError for what is not known here."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, IndexedRules):
        return {"rules": [to_plain(rule) for rule in value]}
    if type(value).__name__ in CLASSES and isinstance(value, tuple):
        return {"of": type(value).__name__, "values": [to_plain(one) for one in value]}
    if type(value) is tuple:
        return [to_plain(one) for one in value]
    raise TypeError(f"a {type(value).__name__} has no plain form")


def from_plain(value: Any) -> Any:  # noqa: ANN401 - the inverse of to_plain
    """The inverse of ``to_plain``; raises KeyError or TypeError."""
    if isinstance(value, list):
        return tuple(map(from_plain, value))
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return Path(value["path"])
    if "rules" in value:
        return IndexedRules(map(from_plain, value["rules"]))
    return CLASSES[value["of"]](*map(from_plain, value["values"]))
