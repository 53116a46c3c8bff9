"""The policy with a map file: whatever stands there, a person is decided about or refused, and never let in by less."""

from __future__ import annotations

import pwd
from pathlib import Path

from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.lcmaps_plugins import PLUGINS
from gridwarden.mapper.map_file_traps import traps
from gridwarden.mapper.map_files import read_map
from gridwarden.mapper.policy import NOWHERE, decide
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule

SEEDS = [
    b'/DC=org/CN=Anna Roe\n/cms/Role=pilot /cms\n"/DC=org/CN=Anna*" .cms,alice # why\n"/cms" .cms\n',
    b'/DC=org/CN=A[b]\n/atlas\n"/DC=org/CN=A[!b]" alice\n/atlas* .atlas\\\n"/atlas" .atlas\n',
]
POOLS = ("cms", "atlas")


def one(data: bytes) -> None:
    """The first line is a DN, the second FQANs, the rest a map file."""
    first, _, rest = data.partition(b"\n")
    second, _, text = rest.partition(b"\n")
    fqans = tuple(second.decode("latin-1").split()[:8])
    who = [Identity("x509", first.decode("latin-1"), fqans, "", "", 0, limited=False)]
    map_file = read_map(text, "map")
    around = NOWHERE._replace(map_file=lambda _: map_file, pools=POOLS)
    for plugin, how in PLUGINS.items():
        rule = Rule(map_file=Path("map"), plugin=plugin)
        found = outcome(who, [rule], around)
        assert found == outcome(who, IndexedRules([rule]), around)
        assert found == outcome(who, [rule, Rule(dn="?*", account="x")], around) or found in (None, "fault")
        if found == "fault":
            continue
        # A line that cannot be read must not let somebody in whom the rest refuses, or give them something else.
        broken = around._replace(map_file=lambda _: read_map(text + b'\n"', "map"))
        assert outcome(who, [rule], broken) in (found, "fault")
        assert found is None or found[0] == ("pool" if how.pools else "account")
        traps(map_file, how, POOLS, pwd)


def outcome(who, rules, around):
    """(kind, target); None for whom no rule matches, "fault" where a file cannot be used."""
    try:
        return decide(who, rules, around)[:2]
    except Refused:
        return None
    except ConfigurationError:
        return "fault"
