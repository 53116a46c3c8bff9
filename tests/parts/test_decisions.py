"""What becomes of somebody between their verified credentials and an account, with real files."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridwarden import holders, reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import ban_changes, job_groups, policy
from gridwarden.mapper.foresee import foresee_identities
from gridwarden.mapper.globus_values import Brought
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.mapping import map_identities, silent
from gridwarden.mapper.rules import Rule
from tests.globus import one, people
from tests.gridmap import holders_of_accounts, person, state

ISSUER = "https://wlcg.example.org/"
TOKEN = Identity("token", f"{ISSUER},anna", (), "cms", "jti=1", 2**40, limited=False, issuer=ISSUER)
ANYBODY = (Rule(dn="*", pool="cms"), Rule(issuer="*", pool="cms"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.permutations([person("Anna"), person("Eve", ("/atlas",)), TOKEN]),
    st.integers(1, 3),
    st.sampled_from(["/DC=org/DC=example/CN=Anna", "*/CN=Ann?", "/cms", "/cms*", "/cms/Role=NULL"]),
)
def test_nobody_is_mapped_who_shows_a_banned_credential_among_others(site, users, shown, count, pattern):
    site.bans[0].write_text(f'"{pattern}"\n')
    banned = person("Anna") in shown[:count]
    site = site._replace(rules=ANYBODY)
    if banned:
        with pytest.raises(Refused) as refusal:
            map_identities(shown[:count], site, silent, users)
        assert refusal.value.reason == reasons.BANNED
    else:
        assert map_identities(shown[:count], site, silent, users).subject in {who.subject for who in shown[:count]}
    assert not [name for names in holders_of_accounts(site).values() for name in names if name.endswith("cn%3danna")]


def in_file(site, text, plugin="voms_poolaccount"):
    path = Path(site.gridmapdir).parent / "voms-mapfile"
    path.write_text(text)
    path.chmod(0o644)
    return site._replace(rules=(Rule(map_file=path, plugin=plugin), *ANYBODY), pools=("cms", "atlas"))


def test_a_map_file_lends_from_its_pool_and_a_change_of_it_holds_at_the_next_decision(site, users):
    site = in_file(site, '"/cms" .cms\n')
    assert map_identities([person()], site, silent, users).account in users.uids
    site = in_file(site, '"/cms" .atlas\n')
    with pytest.raises(Refused, match="and the policy now says pool atlas"):
        map_identities([person()], site, silent, users)


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_a_map_file_that_others_could_write_maps_nobody(site, users, mode):
    site = in_file(site, '"/cms" .cms\n')
    os.chmod(site.rules[0].map_file, mode)
    with pytest.raises(ConfigurationError):
        map_identities([person()], site, silent, users)
    assert not any(holders_of_accounts(site).values())


def test_a_map_file_that_is_not_there_does_not_hand_on_to_the_next_rule(site, users):
    site = in_file(site, "")
    site.rules[0].map_file.unlink()
    with pytest.raises(ConfigurationError, match="voms-mapfile"):
        map_identities([person()], site, silent, users)


def test_asking_what_would_become_of_somebody_changes_nothing(site, users):
    before = state(site)
    account, decision = foresee_identities([person(), TOKEN], site, silent, users)
    assert (account, decision.kind, decision.target) == ("", "pool", "cms")
    assert state(site) == before


def test_a_lease_carries_the_groups_of_the_rule_and_its_holder_file_those_of_the_account(site, users):
    rule = Rule(fqan="/cms", pool="cms", primary_group="games", secondary_groups=("users",))
    leases = site.leases._replace(system_groups=("games", "users"))
    found = map_identities([person()], site._replace(rules=(rule,), leases=leases), silent, users)
    assert (found.gid, found.groups) == (grp.getgrnam("games").gr_gid, (grp.getgrnam("users").gr_gid,))
    assert "gid\t20000\n" in (site.holders / found.account).read_text()


@pytest.mark.parametrize(
    ("group", "error"), [("no-such-group", ConfigurationError), ("root", Refused), ("disk", Refused)]
)
def test_nobody_is_lent_an_account_whose_group_they_cannot_have(site, users, group, error):
    site = site._replace(leases=site.leases._replace(system_groups=("root", "users")))
    for rule in (
        Rule(fqan="/cms", pool="cms", primary_group=group),
        Rule(fqan="/cms", pool="cms", secondary_groups=(group,)),
    ):
        with pytest.raises(error, match=group):
            map_identities([person()], site._replace(rules=(rule,)), silent, users)
        with pytest.raises(error, match=group):
            foresee_identities([person()], site._replace(rules=(rule,)), silent, users)
    assert not any(holders_of_accounts(site).values())


def test_groups_of_a_decision_without_any_are_the_accounts_own():
    decision = policy.decide([person()], [Rule(fqan="/cms", pool="cms")])
    assert job_groups.of(decision) == (None, ())


@pytest.mark.parametrize("rule", [Rule(fqan="/cms", pool="cms"), Rule(fqan="/cms", account="cmsprod")])
@pytest.mark.parametrize("whose", ["jti", "globus"])
def test_a_ban_of_a_credential_shown_beside_that_comes_after_the_decision_still_stops_it(site, users, rule, whose):
    users.uids["cmsprod"] = 30001
    (brought,) = people(one(status="unused"))  # does not count, and a ban of it does
    whom = {"jti": "1"} if whose == "jti" else {"subject": brought.identity.subject}
    site = site._replace(rules=(rule,), ban_lists=(Path(site.gridmapdir).parent / "ban-list",))
    site.ban_lists[0].touch(mode=0o644)

    def ban(sentence):
        if "of the policy says" in sentence:
            ban_changes.add(whom, "stolen", site, dry_run=False)

    with pytest.raises(Refused) as refusal:
        map_identities([person(), TOKEN], site, ban, users, brought=Brought((brought,)))
    assert refusal.value.reason == reasons.BANNED
    assert {holder.verdict for holder in holders.everyone(site.holders)} <= {"ok"}, (
        "who holds the account is not banned"
    )
    assert map_identities([person()], site, silent, users).account in users.uids
