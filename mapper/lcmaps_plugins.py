"""What LCMAPS's plugins find in a map file (1.7.1; each answer compared with theirs in tests/story/test_lcmaps_files.py).

``localaccount`` and ``poolaccount`` look the DN up, ``voms_localaccount`` and ``voms_poolaccount`` each FQAN in the
credential's order.  The first line that matches and has a value of the plugin's sort decides: pools are written with
a dot before them, accounts without.  A line whose values are all of the other sort is passed over.  ``localaccount``
knows no wildcards.  LCMAPS compares the DN as its OpenSSL spells it; here any spelling of it counts.
"""

from __future__ import annotations

from gridwarden.errors import ConfigurationError
from gridwarden.mapper.map_files import mappings, matches_as_in_lcmaps
from gridwarden.mapper.spelling import spellings
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.map_files import MapFile


class Plugin(NamedTuple):
    """Whether a plugin looks FQANs up (else the DN), takes pools (else accounts), and takes keys for patterns."""

    fqans: bool
    pools: bool
    wildcards: bool = True


PLUGINS = {
    "localaccount": Plugin(fqans=False, pools=False, wildcards=False),
    "poolaccount": Plugin(fqans=False, pools=True),
    "voms_localaccount": Plugin(fqans=True, pools=False),
    "voms_poolaccount": Plugin(fqans=True, pools=True),
}


GROUPS = Plugin(fqans=True, pools=False)  # voms_localgroup


class Found(NamedTuple):
    """A pool (without its dot) or an account, the line that gives it, and what of the identity matched there."""

    value: str
    line: int
    matched: str


def find(plugin: str, identity: Identity, map_file: MapFile) -> Found | None:
    """What ``plugin`` gives the identity, or None; raises ConfigurationError where a line that cannot be read decides."""
    how = PLUGINS[plugin]
    for names in [(fqan,) for fqan in identity.fqans] if how.fqans else [spellings(identity.subject)]:
        if found := first_value(map_file, names, how):
            return found
    return None


def first_value(map_file: MapFile, names: tuple[str, ...], how: Plugin) -> Found | None:
    """The first value of its sort among the lines that match one of ``names``; raises ConfigurationError as ``find``."""
    for line in map_file.lines:
        if any(matches_as_in_lcmaps(line.key, name) if how.wildcards else line.key == name for name in names):
            values = [value for value in mappings(line.rest) if value.startswith(".") is how.pools]
            if values:
                return Found(values[0].removeprefix(".") if how.pools else values[0], line.number, names[0])
    if map_file.fault:
        raise ConfigurationError(map_file.fault, "whom no line above it maps is refused, until it is corrected")
    return None


def groups_of(fqans: Sequence[str], map_file: MapFile) -> tuple[str, tuple[str, ...]]:
    """What ``voms_localgroup`` gives: the first FQAN's group, or nothing, as primary; those of the others, each once."""
    found = [first_value(map_file, (fqan,), GROUPS) for fqan in fqans]
    primary = found[0].value if found and found[0] else ""
    return primary, tuple(dict.fromkeys(one.value for one in found[1:] if one and one.value != primary))
