"""What `gridwarden config check` says of the files and accounts that a policy names."""

from __future__ import annotations

import pytest
import yaml

from gridwarden.errors import ConfigurationError
from gridwarden.load_settings import load
from gridwarden.mapper.config_remarks import remarks
from tests.tokens import Key, key_set


@pytest.fixture
def check(tmp_path):
    """`config check` of a site with these rules and this map file."""
    for name in ("gridmapdir/cms9901", "gridmapdir/cms9902", "map", "bans", "ban-list"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o644)

    def run(text, *rules, **more):
        (tmp_path / "map").write_text(text)
        values = {
            "site": "TEST", "pools": ["cms", "atlas"], "slurm": {"cluster": "x"}, "policy": list(rules),
            "gridmapdir": str(tmp_path / "gridmapdir"), "bans": ["DIR/bans"], "ban_lists": ["DIR/ban-list"], **more,
        }  # fmt: skip
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(values).replace("DIR", str(tmp_path)))
        return [sentence.replace(str(tmp_path), "DIR") for sentence in remarks(load(path), path.with_suffix(".d"))]

    return run


FILE = {"map_file": "DIR/map", "plugin": "voms_poolaccount"}
POOLS = [
    "pool cms: 2 of 2 accounts have no passwd entry here: cms9901, cms9902",
    "pool atlas has no account in DIR/gridmapdir",
]


def test_accounts_and_files_that_are_missing_are_named(check):
    gone = {"map_file": "DIR/gone", "plugin": "poolaccount"}
    assert check("", {"fqan": "/cms", "account": "nobody-there"}, gone, FILE) == [
        "policy[0]: nobody-there has no passwd entry",
        *POOLS,
        "DIR/gone: is not here, so nobody whom no rule above it maps is mapped",
    ]


def test_traps_in_a_map_file_are_named_for_the_plugin_that_reads_it(check):
    both = [{**FILE, "plugin": plugin} for plugin in ("voms_localaccount", "voms_poolaccount")]
    assert check('"/cms/Role=x" lost, .lost\n', *both) == [
        *POOLS,
        "DIR/map:1: lost has no passwd entry",
        "DIR/map:1: there is no pool 'lost' in site.yaml",
    ]


def test_a_groupmapfile_that_names_a_group_that_is_not_there_is_named(check):
    assert check('"/cms" .pool no-such-group\n', {"fqan": "/cms", "pool": "cms", "groupmapfile": "DIR/map"}) == [
        *POOLS,
        "DIR/map:1: there is no group 'no-such-group' on this machine",
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('"/cms .cms', "the quote before the key is not closed"),
        ('"/cms" .cms\r', r"the control byte 0x0d \(a DOS line"),
    ],
)
def test_a_line_that_refuses_everybody_below_it_is_a_fault(check, line, why):
    with pytest.raises(ConfigurationError, match=rf"map:2: .*{why}.*; whoever no line above it maps is refused$"):
        check(f'"/atlas" .atlas\n{line}\n"/cms" .cms\n', FILE)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"fqan": "cms"}, "fqan cms matches nobody: it begins with /"),
        ({"fqan": ["/cms", "/cms/"]}, "fqan /cms/ matches nobody: none ends with /"),
        ({"dn": "CN=Ina,DC=org"}, "dn CN=Ina,DC=org matches nobody: it begins with /, as /DC=org/CN=Anna"),
        ({"dn": "/CN=J\N{LATIN SMALL LETTER E WITH ACUTE}"}, r"matches nobody: write /CN=J\xC3\xA9"),
        ({"vo": "/cms"}, "vo /cms matches nobody: a VO is named without /"),
        ({"fqan": "/cms", "primary_group": "no-group"}, "there is no group 'no-group' on this machine"),
        ({"fqan": "/cms", "secondary_groups": ["disk"]}, "the group 'disk' has gid 6: it is the system's"),
    ],
)
def test_a_rule_that_is_for_nobody_is_named(check, rule, said):
    assert said in next(one for one in check("", {**rule, "pool": "cms"}) if one.startswith("policy[0]: "))


def test_a_rule_that_is_for_somebody_is_passed_over_in_silence(check):
    for rule in ({"fqan": "/cms/*"}, {"dn": "*/CN=Ina"}, {"vo": "c?s"}, {"fqan": ["[/]cms", "?cms"]}):
        assert not any("matches nobody" in said for said in check("", {**rule, "pool": "cms"}))


def test_a_followed_file_that_nothing_reads_is_named(check, tmp_path):
    key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    names = ("ban-list.ngi", "site.d/30.yaml", "map", "lost", "site.d/30.policy", "site.d/.30.yaml")
    followed = [{"path": f"DIR/{name}", "source": "/published", "key": key} for name in names]
    (tmp_path / "ban-list.ngi").touch(mode=0o644)
    said = check("", FILE, followed=followed, ban_lists=["DIR/ban-list", "DIR/ban-list.ngi"])
    assert [sentence.partition(":")[0] for sentence in said if "nothing reads" in sentence] == [
        "followed[3]", "followed[4]", "followed[5]",
    ]  # fmt: skip


def test_two_published_files_of_which_one_passes_for_the_other_are_named(check):
    key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    sources = ("/ngi/bans", "/ngi/test/bans", "/ngi/bans", "/ngi/vo-bans")
    followed = [{"path": f"DIR/{place}", "source": source, "key": key} for place, source in enumerate(sources)]
    (said,) = [one for one in check("", FILE, followed=followed) if "passes for the other" in one]
    assert said.startswith("followed[1]: /ngi/test/bans and the /ngi/bans of followed[0] are signed")
    followed[1]["name"] = "test-bans"
    assert not any("passes for the other" in one for one in check("", FILE, followed=followed))


@pytest.mark.parametrize(("name", "text"), [("bans", '"/CN=Eve\n'), ("ban-list", "vo=cms subject=4f2c\n")])
def test_a_ban_file_because_of_which_nobody_is_mapped_is_a_fault(check, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=f"{name}:1: "):
        check("", FILE)
    (tmp_path / name).unlink()
    assert f"DIR/{name}: is not here, so everybody is refused; gridwarden config install makes it" in check("", FILE)


def test_a_map_file_that_others_could_write_is_a_fault(check, tmp_path):
    (tmp_path / "map").chmod(0o666)
    with pytest.raises(ConfigurationError, match="map"):
        check("", FILE)


def test_keys_of_tokens_that_cannot_be_used_are_named_and_rules_for_issuers_that_are_not_believed(check, tmp_path):
    keys = tmp_path / "keys"
    keys.write_bytes(key_set(Key.new()))
    issuer = {"issuer": "https://cms.example.org/", "audiences": ["x"], "keys": "DIR/keys"}
    pool = {"trust_domain": "pool.example.org", "keys": "DIR/passwords.d"}
    rules = [{"issuer": name, "pool": "cms"} for name in ("https://cms.example.org", issuer["issuer"], "pool*")]

    def said():
        return check("", *rules, tokens={"issuers": [issuer], "idtokens": [pool]})

    gone = "DIR/passwords.d: is not here, so no token of pool.example.org is believed"
    other = "policy[0]: no issuer of tokens is https://cms.example.org, exactly as written, in site.yaml"
    assert said() == [*POOLS, gone, other]
    (tmp_path / "passwords.d").mkdir()
    assert said() == [*POOLS, other]
    (tmp_path / "passwords.d" / "POOL").touch()
    (tmp_path / "passwords.d" / "POOL").chmod(0o666)
    with pytest.raises(ConfigurationError, match="POOL: can be written by others"):
        said()
    (tmp_path / "passwords.d" / "POOL").unlink()
    for text, fault in ((b"not json", "cannot be used"), (b'{"keys": []}', "there is no key for ES256, RS256")):
        keys.write_bytes(text)
        with pytest.raises(ConfigurationError, match=f"keys: the keys of https://cms.example.org/ .*{fault}"):
            said()
    keys.unlink()
    assert f"DIR/keys: is not here, so no token of {issuer['issuer']} is believed" in said()
