from __future__ import annotations

import pytest

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper.policy import Decision, Rule, decide, vo_of_account
from tests.gridmap import person

RULES = (
    Rule(dn="/DC=org/DC=example/CN=Robot*", refuse="robots may not run here"),
    Rule(dn="*/CN=Bela", fqan="/cms*", account="belas"),
    Rule(fqan="/cms/Role=production", account="cmsprod"),
    Rule(fqan="/cms*", pool="cms"),
    Rule(fqan="/atlas", pool="atlas"),
)


@pytest.mark.parametrize(
    ("name", "fqans", "decision"),
    [
        ("Anna", ("/cms",), Decision("pool", "cms", 4)),
        ("Anna", ("/cms/higgs", "/cms"), Decision("pool", "cms", 4)),
        ("Anna", ("/cms", "/cms/Role=production"), Decision("account", "cmsprod", 3)),
        ("Bela", ("/cms",), Decision("account", "belas", 2)),
        ("Bela", ("/atlas",), Decision("pool", "atlas", 5)),
    ],
)
def test_the_first_rule_whose_patterns_all_match_decides(name, fqans, decision):
    assert decide(person(name, fqans), RULES) == decision


def test_who_is_refused_reads_the_sites_own_sentence():
    with pytest.raises(Refused, match="robots may not run here") as refusal:
        decide(person("Robot 7"), RULES)
    assert refusal.value.reason == reasons.POLICY_REFUSED


@pytest.mark.parametrize("fqans", [(), ("/atlas/x",), ("/CMS",)])
def test_who_matches_no_rule_is_refused_by_name_and_fqans(fqans):
    with pytest.raises(Refused) as refusal:
        decide(person("Chen", fqans), RULES)
    assert refusal.value.reason == reasons.POLICY_NO_MATCH
    assert "CN=Chen" in refusal.value.detail
    assert (" ".join(fqans) or "no FQAN") in refusal.value.detail


@pytest.mark.parametrize("pattern", ["/cms/Role=NULL", "/cms/Role=NULL/Capability=NULL", "/cms/Capability=NULL"])
def test_a_rule_that_spells_out_no_role_refuses_members_without_one(pattern):
    with pytest.raises(Refused, match="no role, no job"):
        decide(person("Chen", ("/cms",)), [Rule(fqan=pattern, refuse="no role, no job"), *RULES])


def test_a_rule_without_a_pattern_lets_nobody_in():
    with pytest.raises(Refused):
        decide(person(), [Rule(pool="cms")])


def test_a_fixed_account_is_of_a_vo_only_if_no_other_vo_can_reach_it():
    assert vo_of_account("cmsprod", RULES) == "cms"
    assert vo_of_account("belas", RULES) == ""
    assert vo_of_account("cmsprod", [*RULES, Rule(fqan="/atlas", account="cmsprod")]) == ""
    assert vo_of_account("cmsprod", [*RULES, Rule(dn="*", account="cmsprod")]) == ""
