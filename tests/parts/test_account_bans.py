"""Bans of accounts: nobody is given one, and nobody who is refused makes it look like an account in good standing."""

from __future__ import annotations

import sys

import pytest

from gridwarden import holders, holds, reasons
from gridwarden.errors import Refused
from gridwarden.mapper import ban_changes, ban_now
from gridwarden.mapper.ban_telling import to_hold
from gridwarden.mapper.foresee import foresee_identities, foresee_identity
from gridwarden.mapper.many import lease_many
from gridwarden.mapper.mapping import map_identities, map_identity, silent
from gridwarden.mapper.rules import Rule
from tests.gridmap import asked, bodies, holders_of_accounts, lcmaps_links, make_accounts, person

PRODUCER = person("Prod", ("/cms/Role=production",))


@pytest.fixture
def site(site, tmp_path):
    (tmp_path / "ban-list").touch(mode=0o644)
    return site._replace(ban_lists=(tmp_path / "ban-list",))


@pytest.fixture
def users(site):
    known = make_accounts(site, "cms001")
    known.uids["cmsprod"] = 30000
    return known


def ban(site, **whom):
    return ban_changes.add(whom, "incident 17", site, dry_run=False)


def refused(site, identity, users):
    """Who is refused because of a ban leaves no record of a lease."""
    before = len(bodies(site, "lease"))
    with pytest.raises(Refused) as caught:
        asked(site, identity, users)
    assert caught.value.reason == reasons.BANNED
    assert len(bodies(site, "lease")) == before


def verdict(site, account):
    return holders.read(site.holders, account).verdict


@pytest.fixture
def when_published():
    """Do something once, just before the next holder file takes its place."""
    waiting = []

    def look(event, arguments):
        if event == "os.rename" and arguments[1] in ("cms001", "cmsprod"):
            while waiting:
                waiting.pop()()

    sys.addaudithook(look)
    yield waiting.append
    waiting.clear()


@pytest.mark.parametrize("identity", [PRODUCER, person("Anna")])
def test_who_is_refused_a_banned_account_does_not_lift_its_ban(site, users, identity):
    account = asked(site, identity, users).account
    ban(site, account=account)
    refused(site, identity, users)
    refused(site, identity._replace(credential="02/test"), users)
    assert verdict(site, account) == "banned"


@pytest.mark.parametrize("identity", [PRODUCER, person("Anna")])
def test_a_banned_account_is_never_published_for_who_asks_first(site, users, identity):
    if identity != PRODUCER:
        lcmaps_links(site, "cms001", identity)
    ban(site, account="cmsprod" if identity == PRODUCER else "cms001")
    refused(site, identity, users)
    assert not list(site.holders.iterdir())


@pytest.mark.parametrize("whom", [{"account": "cmsprod"}, {"subject": "cmsprod"}])
def test_a_ban_of_the_fixed_account_itself_stops_everybody_who_is_mapped_to_it(site, users, whom):
    site = site._replace(rules=(*site.rules, site.rules[0]._replace(fqan=(), dn="*/CN=Guest")))
    guest = person("Guest", ())
    asked(site, guest, users)
    ban(site, **whom)
    refused(site, guest, users)
    assert verdict(site, "cmsprod") == "banned"
    ban_changes.remove(whom, site, dry_run=False)
    asked(site, guest, users)
    assert verdict(site, "cmsprod") == "ok"


@pytest.mark.parametrize("identity", [PRODUCER, person("Anna")])
def test_a_ban_between_the_look_and_the_publication_stops_the_account(site, users, identity, when_published):
    account = "cmsprod" if identity == PRODUCER else "cms001"
    when_published(lambda: ban(site, account=account))
    with pytest.raises(Refused) as caught:
        asked(site, identity, users)
    assert (caught.value.reason, verdict(site, account)) == (reasons.BANNED, "banned")


def test_what_is_foreseen_is_what_a_mapping_with_a_banned_account_does(site, users):
    anna, bela = person("Anna"), person("Bela")
    asked(site, anna, users)
    assert foresee_identity(PRODUCER, site, silent, users) == "cmsprod"
    ban(site, account="cmsprod")
    ban(site, account="cms001")
    for who, reason in ((PRODUCER, reasons.BANNED), (anna, reasons.BANNED), (bela, reasons.POOL_FULL)):
        for mapped in (lambda one: foresee_identity(one, site, silent, users), lambda one: asked(site, one, users)):
            with pytest.raises(Refused) as caught:
                mapped(who)
            assert caught.value.reason == reason


def test_an_account_that_is_banned_to_some_is_lent_to_others_only(site, users):
    ban(site, account="cms001", vo="cms")
    for mapped in (foresee_identity, map_identity):
        with pytest.raises(Refused, match="it is banned") as caught:
            mapped(person("Anna"), site, silent, users)
        assert caught.value.reason == reasons.POOL_FULL
    assert holders_of_accounts(site) == {"cms001": []} and not list(site.holders.iterdir())
    site = site._replace(rules=(Rule(dn="*", pool="cms"),))
    assert asked(site, person("Bela", ("/atlas",)), users).account == "cms001"


def test_an_account_that_is_banned_to_another_identity_of_the_same_person_is_not_lent(site, users):
    token = person("Anna")._replace(scheme="token", subject="https://iam/,4f2c", issuer="https://iam/", fqans=())
    ban(site, account="cms001", issuer="https://iam/")
    for mapped in (foresee_identities, map_identities):
        with pytest.raises(Refused, match="it is banned"):
            mapped((person("Anna"), token), site, silent, users)
    assert holders_of_accounts(site) == {"cms001": []} and not list(site.holders.iterdir())


def test_many_leases_at_once_leave_a_banned_account_banned(site, users):
    anna = person("Anna")
    asked(site, anna, users)
    ban(site, account="cms001")
    records = len(bodies(site, "lease"))
    (found,) = lease_many([(anna._replace(credential="02/test"), "cms")], site, silent, users).values()
    assert isinstance(found, Refused) and found.reason == reasons.BANNED
    assert (verdict(site, "cms001"), len(bodies(site, "lease"))) == ("banned", records)


def test_evidence_of_an_account_is_held_by_its_name_where_nobody_knows_its_holder(site):
    site = site._replace(pools=("cms",))
    site.holds.mkdir(mode=0o700)
    assert to_hold([], {"account": "cms001"}, site) == ["cms001"]
    assert to_hold([], {"account": "cmsprod"}, site) == [], "several people's"
    assert to_hold([], {"account": "cms001", "vo": "cms"}, site) == [], "of that VO alone"
    assert ban_now.hold(["cms001"], "incident 17", site, dry_run=False) == ["cms001"]
    assert ban_now.hold(["cms001"], "incident 18", site, dry_run=False) == []
    assert holds.why_held(site.holds, "cms001") == "incident 17"
    assert [each["account"] for each in bodies(site, "hold")] == ["cms001"]
