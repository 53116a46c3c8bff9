from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.globus import Mapped
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.lcmaps_plugins import PLUGINS
from gridwarden.mapper.map_files import read_map
from gridwarden.mapper.policy import NOWHERE, decide
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule, vo_of_account
from tests.gridmap import person

ROBOT = "/DC=org/DC=example/CN=Robot*"
RULES = (
    Rule(dn=ROBOT, refuse="robots may not run here"),
    Rule(dn="*/CN=Bela", fqan="/cms*", account="belas"),
    Rule(fqan="/cms/Role=production", account="cmsprod"),
    Rule(fqan="/cms*", pool="cms"),
    Rule(fqan="/atlas", pool="atlas"),
)
ISSUER = "https://wlcg.example.org/"


def token(sub="anna", issuer=ISSUER, **values):
    values = {"groups": ("/cms",), "scopes": ("compute.create",), "audiences": ("https://ce.example.org",), **values}
    return Identity("token", f"{issuer},{sub}", (), "cms", "jti=1", 2**40, limited=False, issuer=issuer, **values)


def globus(name="anna@example.edu", domain="example.edu", authenticated=0):
    uuid = f"00000000-0000-0000-0000-{hash(name) % 10**12:012}"
    values = {"username": name, "identity_provider": domain, "authenticated": authenticated}
    return Identity("globus", uuid, (), "", "", 2**40, limited=False, **values)


def outcome(identities, rules, around=NOWHERE):
    """What becomes of somebody: (kind, target), or the reason of the refusal."""
    try:
        return decide(identities, rules, around)[:2]
    except Refused as refusal:
        return refusal.reason


@pytest.mark.parametrize(
    ("name", "fqans", "decision"),
    [
        ("Anna", ("/cms",), ("pool", "cms", 4)),
        ("Anna", ("/cms/higgs", "/cms"), ("pool", "cms", 4)),
        ("Anna", ("/cms", "/cms/Role=production"), ("account", "cmsprod", 3)),
        ("Bela", ("/cms",), ("account", "belas", 2)),
        ("Bela", ("/atlas",), ("pool", "atlas", 5)),
    ],
)
def test_the_first_rule_whose_patterns_all_match_decides(name, fqans, decision):
    assert decide([person(name, fqans)], RULES)[:3] == decision


def test_who_is_refused_reads_the_sites_own_sentence():
    with pytest.raises(Refused, match="robots may not run here") as refusal:
        decide([person("Robot 7")], RULES)
    assert refusal.value.reason == reasons.POLICY_REFUSED


@pytest.mark.parametrize("fqans", [(), ("/atlas/x",), ("/CMS",)])
def test_who_matches_no_rule_is_refused_by_name_and_fqans(fqans):
    with pytest.raises(Refused) as refusal:
        decide([person("Chen", fqans)], RULES)
    assert refusal.value.reason == reasons.POLICY_NO_MATCH
    assert "CN=Chen" in refusal.value.detail
    assert (" ".join(fqans) or "no FQAN") in refusal.value.detail


@pytest.mark.parametrize("pattern", ["/cms/Role=NULL", "/cms/Role=NULL/Capability=NULL", "/cms/Capability=NULL"])
def test_a_rule_that_spells_out_no_role_refuses_members_without_one(pattern):
    with pytest.raises(Refused, match="no role, no job"):
        decide([person("Chen", ("/cms",))], [Rule(fqan=pattern, refuse="no role, no job"), *RULES])


def test_a_rule_without_a_pattern_lets_nobody_in():
    with pytest.raises(Refused):
        decide([person()], [Rule(pool="cms")])


@pytest.mark.parametrize(
    ("conditions", "who", "mapped"),
    [
        ({"vo": "cms"}, person(), True),
        ({"vo": "cms"}, token(), True),
        ({"vo": "*"}, globus(), False),
        ({"fqan": ("/cms", "/cms/Role=production")}, person("A", ("/cms/Role=production", "/cms")), True),
        ({"fqan": ("/cms", "/cms/Role=production")}, person("A", ("/cms",)), False),
        ({"issuer": ISSUER}, token(), True),
        ({"issuer": ISSUER}, token(issuer="https://wlcg.example.org"), False),
        ({"issuer": "*"}, person(), False),
        ({"issuer": ISSUER, "subject": "anna"}, token(), True),
        ({"issuer": ISSUER, "subject": "anna"}, token("anna,"), False),
        ({"subject": "anna"}, token(), False),
        ({"subject": f"{ISSUER},anna"}, token(f"{ISSUER},anna", issuer="https://evil.example.org/"), False),
        ({"group": "/cms"}, token(), True),
        ({"group": ("/cms", "/cms/production")}, token(), False),
        ({"scope": "compute.*"}, token(), True),
        ({"scope": "compute.*"}, token(scopes=()), False),
        ({"audience": "https://ce.example.org"}, token(), True),
        ({"audience": "https://ce.example.org"}, token(audiences=("https://other.example.org",)), False),
        ({"subject": globus().subject}, globus(), True),
        ({"subject": "alice"}, Identity("local", "alice", (), "", "", 0, limited=False), True),
        ({"identity_provider": "example.edu"}, globus(), True),
        ({"identity_provider": "example.edu"}, globus(domain="example.edu.evil.org"), False),
        ({"authenticated_within_minutes": 10}, globus(authenticated=999_400), True),
        ({"authenticated_within_minutes": 10}, globus(authenticated=999_399), False),
        ({"authenticated_within_minutes": 10}, globus(authenticated=1_000_061), False),
        ({"authenticated_within_minutes": 525600}, globus(authenticated=0), False),
        ({"dn": "*"}, token(), False),
        ({"fqan": "*"}, token(), False),
        ({"dn": "*"}, person("A", ()), True),
    ],
)
def test_each_condition_is_met_by_its_kind_of_credential_and_by_no_other(conditions, who, mapped):
    rules = [Rule(**conditions, account="x")]
    around = NOWHERE._replace(now=1_000_000)
    assert outcome([who], rules, around) == (("account", "x") if mapped else reasons.POLICY_NO_MATCH)
    assert outcome([who], IndexedRules(rules), around) == outcome([who], rules, around)


BOTH = [Rule(fqan="/cms/Role=pilot", issuer=ISSUER, group="/cms", pool="cms")]
PILOT = person("Pilot", ("/cms/Role=pilot",))


def test_a_rule_may_want_several_credentials_and_the_account_goes_to_the_first_shown():
    assert outcome([PILOT], BOTH) == outcome([token()], BOTH) == reasons.POLICY_NO_MATCH
    assert decide([PILOT, token()], BOTH).identity == PILOT
    assert decide([token(), PILOT], BOTH).identity == token()
    assert decide([globus(), token(), PILOT], BOTH).identity == token(), "a Globus identity met nothing"


def test_conditions_of_one_kind_are_not_met_by_two_credentials_together():
    halves = [token(groups=()), token("bob", "https://other.example.org/")]
    assert outcome([PILOT, *halves], BOTH) == reasons.POLICY_NO_MATCH
    assert decide([PILOT, halves[0], token("c")], BOTH).identity == PILOT


LIMITED = person("Anna", ("/cms",))._replace(limited=True)


def test_a_limited_proxy_is_mapped_only_where_a_rule_or_the_site_allows_it():
    closed, opened = Rule(fqan="/cms", pool="cms"), Rule(fqan="/cms", pool="limited", limited=True)
    assert outcome([LIMITED], [closed]) == reasons.CREDENTIAL_LIMITED
    assert outcome([LIMITED], [closed, opened]) == ("pool", "limited")
    assert outcome([LIMITED], [closed], NOWHERE._replace(limited_proxies=True)) == ("pool", "cms")
    assert outcome([LIMITED], [Rule(vo="cms", pool="cms")]) == reasons.CREDENTIAL_LIMITED


def test_a_limited_proxy_does_not_pass_by_a_rule_that_refuses_its_owner():
    rules = [Rule(dn="*/CN=Anna", refuse="no"), Rule(fqan="/cms", pool="cms", limited=True)]
    assert outcome([LIMITED], rules) == reasons.POLICY_REFUSED


def of_file(text, **more):
    """Surroundings in which every map file holds ``text``."""
    return NOWHERE._replace(map_file=lambda path: read_map(text.encode(), str(path)), pools=("cms", "atlas"), **more)


FILE = Rule(map_file="/map", plugin="voms_poolaccount")


def test_a_map_file_decides_at_its_place_and_hands_on_whom_it_does_not_know():
    rules = [Rule(dn=ROBOT, refuse="no"), FILE, Rule(dn="*", account="others")]
    around = of_file('"/cms" .cms\n"/cms/Role=production" cmsprod\n')
    found = decide([person("Anna", ("/cms/Role=production", "/cms"))], rules, around)
    assert found[:3] == ("pool", "cms", 2)
    assert found.because == "/map:1 for /cms"
    assert outcome([person("Robot 1")], rules, around) == reasons.POLICY_REFUSED
    assert outcome([person("Anna", ("/atlas",))], rules, around) == ("account", "others")
    assert outcome([token()], rules, around) == reasons.POLICY_NO_MATCH


@pytest.mark.parametrize(
    ("plugin", "text", "fault"),
    [
        ("voms_poolaccount", '"/cms" .lhcb\n', "/map:1: pool 'lhcb' is not one of pools"),
        ("voms_localaccount", '"/cms" cms007\n', "/map:1: account 'cms007' is one that pool 'cms' lends"),
        ("voms_localaccount", '"/atlas" x\n"/cms\n"/cms" y\n', "/map:2: the quote before the key is not closed"),
    ],
)
def test_a_map_file_gives_nobody_what_a_rule_could_not_give(plugin, text, fault):
    rules = [FILE._replace(plugin=plugin), Rule(dn="*", account="others")]
    with pytest.raises(ConfigurationError, match=fault.replace("[", r"\[")):
        decide([person()], rules, of_file(text))


def test_globus_documents_are_asked_only_about_identities_that_meet_the_rule():
    asked = []

    def account(name, identities):
        asked.append((name, [who.username for who in identities]))
        return Mapped("anna", identities[-1], name) if name == "second" else None

    rules = [Rule(globus="first"), Rule(globus="second", identity_provider="example.edu"), Rule(dn="*", account="x")]
    people = [globus("a@evil.org", "evil.org"), globus("b@example.edu"), globus()]
    found = decide(people, rules, NOWHERE._replace(globus=account))
    assert (found[:3], found.identity.username) == (("account", "anna", 2), "anna@example.edu")
    assert asked == [
        ("first", ["a@evil.org", "b@example.edu", "anna@example.edu"]),
        ("second", ["b@example.edu", "anna@example.edu"]),
    ]


def test_globus_documents_cannot_give_away_an_account_that_a_pool_lends():
    around = NOWHERE._replace(globus=lambda _, who: Mapped("cms007", who[0], "endpoint"), pools=("cms",))
    with pytest.raises(ConfigurationError, match="is one that pool 'cms' lends"):
        decide([globus()], [Rule(globus="endpoint")], around)


def test_groups_come_with_the_rule_or_from_its_groupmapfile():
    plain = Rule(fqan="/cms", pool="cms", primary_group="cmsprod", secondary_groups=("data",))
    assert decide([person()], [plain])[4:6] == ("cmsprod", ("data",))
    mapped = Rule(fqan="/cms", pool="cms", groupmapfile="/groups")
    around = of_file('"/cms/Role=*" roles\n"/cms" .pool cms\n"/cms/higgs" higgs\n')
    found = decide([person("A", ("/cms", "/cms/Role=x", "/cms/none", "/cms/higgs"))], [mapped], around)
    assert found[4:6] == ("cms", ("roles", "higgs"))
    assert decide([person("A", ("/cms/none", "/cms"))], [mapped._replace(fqan="/cms")], around)[4:6] == ("", ("cms",))


def test_each_rule_above_the_one_that_decides_says_why_it_did_not():
    steps = []
    rules = [
        *RULES[:3],
        Rule(issuer=ISSUER, pool="cms"),
        FILE,
        Rule(fqan="/cms", pool="cms", limited=True),
        Rule(dn="*", pool="cms"),
    ]
    decide([LIMITED], rules, of_file('"/lhcb" .cms\n'), steps)
    assert steps == [
        f"rule 1 does not match: dn {ROBOT} does not match {LIMITED.subject}",
        f"rule 2 does not match: dn */CN=Bela does not match {LIMITED.subject}",
        "rule 3 does not match: fqan /cms/Role=production does not match /cms",
        "rule 4 does not match: it takes a token",
        f"rule 5 does not match: {LIMITED.subject} shows a limited proxy, which the rule does not allow",
        f"rule 6 says pool cms for {LIMITED.subject}",
    ]


def test_who_is_refused_is_told_which_rule_refused_them():
    steps = []
    with pytest.raises(Refused):
        decide([person("Robot 7")], RULES, explain=steps)
    assert steps == ["rule 1 says refuse robots may not run here for /DC=org/DC=example/CN=Robot 7"]


def test_a_fixed_account_is_of_a_vo_only_if_no_other_vo_can_reach_it():
    assert vo_of_account("cmsprod", RULES) == "cms"
    assert vo_of_account("belas", RULES) == ""
    assert vo_of_account("cmsprod", [*RULES, Rule(fqan="/atlas", account="cmsprod")]) == ""
    assert vo_of_account("cmsprod", [*RULES, Rule(dn="*", account="cmsprod")]) == ""
    assert vo_of_account("cmsprod", [*RULES, FILE]) == "", "nobody knows what stands in a file"


words = st.text("ab*?/[]", min_size=1, max_size=4)
patterns = st.one_of(st.none(), words)
several = st.lists(words, max_size=2).map(tuple)
outcomes = st.sampled_from([{"pool": "cms"}, {"account": "x"}, {"refuse": "no"}])
rules_of_any_kind = st.lists(
    st.builds(
        lambda fixed, **conditions: Rule(**conditions, **fixed),
        outcomes,
        dn=patterns,
        fqan=several,
        vo=patterns,
        issuer=patterns,
        subject=patterns,
        group=several,
        scope=several,
        limited=st.booleans(),
    ),
    max_size=8,
)
people = st.lists(
    st.one_of(
        st.builds(
            lambda dn, fqans, vo, limited: Identity("x509", dn, fqans, vo, "", 0, limited),
            words, several, st.sampled_from(["", "a", "b"]), st.booleans(),
        ),
        st.builds(
            lambda sub, groups, scopes: Identity(
                "token", f"a,{sub}", (), "a", "", 0, limited=False, issuer="a", groups=groups, scopes=scopes
            ),
            words, several, several,
        ),
        st.builds(lambda name: Identity("local", name, (), "", "", 0, limited=False), words),
    ),
    max_size=3,
)  # fmt: skip


@given(people, rules_of_any_kind)
def test_looking_rules_up_decides_as_trying_each_of_them(identities, rules):
    assert outcome(identities, IndexedRules(rules)) == outcome(identities, rules)


@pytest.mark.parametrize(
    "pattern",
    [
        "*/OU=[IT]T/*",
        "*/OU=?T/*",
        "*[!x]CN=*",
        "/DC=*/OU=IT/*Ann?",
        "*",
        "*Anna*",
        "*OU=IT*CN=Anna*",
        "*[",
        "*[]x]*",
        "[/]*",
    ],
)
def test_a_rule_is_looked_up_by_no_text_that_its_pattern_does_not_ask_for(pattern):
    for dn in ("/DC=org/OU=IT/CN=Anna", "/DC=org/OU=TT/CN=Eve", "/DC=org/CN=[", "/CN=x]", "/CN=OU=IT"):
        rules = [Rule(dn=pattern, account="x"), Rule(dn="*", account="y")]
        who = [person()._replace(subject=dn)]
        assert outcome(who, IndexedRules(rules)) == outcome(who, rules)


@given(people, rules_of_any_kind, rules_of_any_kind)
def test_a_rule_added_below_never_changes_what_was_decided(identities, rules, more):
    before = outcome(identities, rules)
    if before not in (reasons.POLICY_NO_MATCH, reasons.CREDENTIAL_LIMITED):
        assert outcome(identities, [*rules, *more]) == before


@given(people, rules_of_any_kind)
def test_the_rule_that_decides_is_the_first_that_alone_would(identities, rules):
    try:
        decided = decide(identities, rules).rule
    except Refused:
        return
    alone = [outcome(identities, [rule]) for rule in rules]
    undecided = (reasons.POLICY_NO_MATCH, reasons.CREDENTIAL_LIMITED)
    assert [answer not in undecided for answer in alone].index(True) + 1 == decided


@given(people, rules_of_any_kind)
def test_showing_one_credential_more_never_escapes_a_refusal_of_the_first_rule(identities, rules):
    """What refuses somebody by one of their credentials still does when they show others beside it."""
    if identities and rules and rules[0].refuse and outcome(identities[:1], rules[:1]) == reasons.POLICY_REFUSED:
        assert outcome(identities, rules) == reasons.POLICY_REFUSED


keys = st.sampled_from(["/cms", "/cms*", "/atlas", "*", "/DC=org/DC=example/CN=A", "/DC=org/*", "/cms/Role=[x]"])
values = st.sampled_from([".cms", ".atlas", "alice", "bob, .cms", "", "# none"])
lines = st.lists(st.builds(lambda key, value: f'"{key}" {value}', keys, values), max_size=5)
shown = st.lists(st.sampled_from(["/cms", "/cms/Role=x", "/atlas", "/lhcb"]), max_size=3).map(tuple)
faulty = st.sampled_from(['"/cms .cms', "/cms .cms\\", '"/cms" .cms\r'])


@given(lines, lines, faulty, shown, st.sampled_from(list(PLUGINS)))
def test_a_malformed_file_maps_nobody_otherwise_than_it_would_without_its_fault(above, below, fault, fqans, plugin):
    def given(text):
        try:
            return outcome([person("A", fqans)], [Rule(map_file="/map", plugin=plugin)], of_file("\n".join(text)))
        except ConfigurationError:
            return None

    assert given([*above, fault, *below]) in (given([*above, *below]), None)
    assert given([*above, fault, *below]) in (given(above), None), "a line below the fault was read"


@given(lines, shown, st.sampled_from(list(PLUGINS)))
def test_a_map_file_never_lets_a_rule_below_it_change_what_it_decided(text, fqans, plugin):
    rules = [Rule(map_file="/map", plugin=plugin)]
    before = outcome([person("A", fqans)], rules, of_file("\n".join(text)))
    if before != reasons.POLICY_NO_MATCH:
        assert outcome([person("A", fqans)], [*rules, Rule(dn="*", account="x")], of_file("\n".join(text))) == before
