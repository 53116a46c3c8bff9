from __future__ import annotations

import pwd

import pytest

from gridwarden.mapper import policy_traps
from gridwarden.mapper.lcmaps_plugins import PLUGINS, find
from gridwarden.mapper.map_file_traps import traps
from gridwarden.mapper.map_files import read_map
from gridwarden.mapper.rules import Rule
from tests.gridmap import Users, person

POOLS = ("cms", "atlas")


class Root(Users):
    """Users of whom root is one."""

    def getpwnam(self, name):
        if name == "root":
            return pwd.struct_passwd(("root", "x", 0, 0, "", "/root", "/bin/sh"))
        return super().getpwnam(name)

    def getpwuid(self, uid):
        return super().getpwuid(uid) if uid else self.getpwnam("root")


def found(text, plugin="voms_poolaccount"):
    return traps(read_map(text.encode(), "map"), PLUGINS[plugin], POOLS, Root("alice"))


@pytest.mark.parametrize(
    ("plugin", "text", "said"),
    [
        ("poolaccount", "/DC=org/CN=Anna Roe .cms\n", "map:1: the DN stands without quotes"),
        ("poolaccount", '"/DC=org/CN=A[bc]" .cms\n', "map:1: [ and ? are wildcards"),
        ("localaccount", '"/DC=org/CN=A*" alice\n', "map:1: this plugin knows no wildcards"),
        ("voms_poolaccount", '"/cms/Role=NULL" .cms\n', "map:1: /cms/Role=NULL matches nobody"),
        ("voms_poolaccount", "cms .cms\n", "map:1: cms matches nobody"),
        (
            "voms_poolaccount",
            '"/cms*" .cms\n"/cms/Role=x" .atlas\n',
            "map:2: /cms/Role=x never comes into play: line 1",
        ),
        ("voms_poolaccount", '"/cms" .cms\n"/cms" .atlas\n', "map:2: /cms never comes into play: line 1"),
        ("voms_poolaccount", '"/cms" .cmsprd\n', "map:1: there is no pool 'cmsprd' in site.yaml, only cms; older"),
        ("voms_poolaccount", '"/cms" .lhcb\n', "map:1: there is no pool 'lhcb' in site.yaml"),
        ("voms_localaccount", '"/cms" cms007\n', "map:1: cms007 is an account that pool cms lends"),
        ("voms_localaccount", '"/cms" bob\n', "map:1: bob has no passwd entry"),
        ("voms_localaccount", '"/cms" root\n', "map:1: root has uid 0"),
    ],
)
def test_a_line_that_does_not_do_what_it_seems_to_is_named(plugin, text, said):
    assert [sentence for sentence in found(text, plugin) if sentence.startswith(said)], found(text, plugin)


def test_a_sound_file_is_passed_over_in_silence():
    text = '"/cms/Role=x" .cms\n"/cms" alice .cms\n"/cms/*" .atlas,alice # all\n"/DC=org/CN=Anna Roe" .cms\n"*" .cms\n'
    assert found(text) == []
    assert found('"/DC=org/CN=A[bc]" alice\n', "localaccount") == []


def test_a_line_is_only_called_useless_where_nobody_comes_to_it():
    for first, second in (("/cm?", "/cm*"), ("/cms/[ab]", "/cms/*"), ("/cms/*", "/cms*"), ("/cms", "/cms/*")):
        text = f'"{first}" .cms\n"{second}" .atlas\n'
        assert found(text) == []
        names = [f"/cm{end}" for end in ("", "s", "sx", "s/x", "s/a", "x/y")]
        given = [find("voms_poolaccount", person("A", (name,)), read_map(text.encode(), "map")) for name in names]
        assert any(one and one.value == "atlas" for one in given)


@pytest.mark.parametrize(
    ("above", "below", "useless"),
    [
        ({"fqan": "/cms"}, {"fqan": "/cms/Role=production"}, True),
        ({"fqan": "/cms"}, {"fqan": "/cms/higgs/Role=pilot"}, True),
        ({"fqan": "/cms/higgs"}, {"fqan": "/cms/Role=production"}, False),
        ({"fqan": "/cms/Role=NULL"}, {"fqan": "/cms"}, True),
        ({"fqan": "/cms*"}, {"fqan": "/cms/*"}, True),
        ({"fqan": "/cms/*"}, {"fqan": "/cms*"}, False),
        ({"fqan": "/cms", "dn": "*/CN=Bela"}, {"fqan": "/cms/Role=production"}, False),
        ({"fqan": ("/cms", "/cms/x")}, {"fqan": "/cms/Role=production"}, False),
        ({"dn": "/DC=org/*"}, {"dn": "/DC=org/CN=Anna", "fqan": "/cms"}, True),
        ({"dn": "/DC=org/?*"}, {"dn": "/DC=org/*"}, False),
        ({"issuer": "*"}, {"issuer": "x"}, False),
        ({"fqan": "/cms"}, {"fqan": "/cms/Role=x", "limited": True}, False),
    ],
)
def test_a_rule_that_one_above_leaves_nobody_for_is_named(above, below, useless):
    said = policy_traps.traps([Rule(**above, pool="cms"), Rule(**below, account="x")])
    assert bool([sentence for sentence in said if "never comes into play: policy[0]" in sentence]) is useless


def test_a_rule_for_a_dn_with_a_wildcard_by_accident_is_named():
    assert "policy[0]: [ and ?" in policy_traps.traps([Rule(dn="/CN=A[bc]", pool="cms")])[0]
