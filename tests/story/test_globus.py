"""gridwarden and the real Globus in one gridmapdir."""

from __future__ import annotations

import random
import string
from concurrent.futures import ThreadPoolExecutor

import pytest

from gridwarden.mapper.encoding import lease_name
from tests.gridmap import Users, asked, holders_of_accounts, make_accounts, make_site, person
from tests.site.globus import globus_accounts

PRINTABLE = "".join(sorted(set(string.printable[:95]) - set('"\\')))  # those two its map file would have to escape


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)


@pytest.fixture
def users(site) -> Users:
    return make_accounts(site, *(f"cms{number:03}" for number in range(250)))


def theirs(site, *names):
    return globus_accounts([person(name).subject for name in names], site.gridmapdir, "cms")


def test_a_lease_that_globus_made_is_followed(site, users):
    (account,) = theirs(site, "Jane O'Neil-Smith (7)")
    found = asked(site, person("Jane O'Neil-Smith (7)"), users)
    assert (found.account, found.created, found.adopted) == (account, False, True)


def test_a_lease_that_gridwarden_made_is_followed_by_globus(site, users):
    assert theirs(site, "Jane") == [asked(site, person("Jane"), users).account]


def test_globus_names_leases_as_gridwarden_does(site, users):
    chance = random.Random(7)
    names = ["".join(chance.choices(PRINTABLE, k=chance.randrange(1, 60))) for _ in range(200)]
    accounts = theirs(site, *names)
    held = holders_of_accounts(site)
    assert [held[account] for account in accounts] == [[lease_name(person(name).subject)] for name in names]


def test_an_account_that_cools_is_not_lent_by_globus(tmp_path):
    site = make_site(tmp_path / "cold")
    users = make_accounts(site, "cms001")
    found = asked(site, person("Jane"), users)
    (site.gridmapdir / found.name).rename(site.gridmapdir / f".gridwarden-cooling:{found.account}:{found.lease_id}")
    assert theirs(site, "Jane", "Bela") == [None, None]


def test_nobody_shares_when_globus_and_gridwarden_lease_at_once(site, users):
    people = [f"P{number}" for number in range(200)]

    def of_globus(start):
        return dict(zip(people[start::4], theirs(site, *people[start::4]), strict=True))

    def of_ours(start):
        return {name: asked(site, person(name), users).account for name in people[start::4][::-1]}

    with ThreadPoolExecutor(8) as crowd:
        of_them = [crowd.submit(of_globus, start) for start in range(4)]
        of_us = [crowd.submit(of_ours, start) for start in range(4)]
    accounts = {name: account for some in of_us for name, account in some.result().items()}
    assert len(set(accounts.values())) == len(people)
    for some in of_them:
        for name, account in some.result().items():
            # While a third link stands, Globus may find no account, or answer with another lease's name: nobody's account.
            assert account in {accounts[name], None} or account.startswith("%2f"), name
    assert sum(map(len, holders_of_accounts(site).values())) == len(people)
