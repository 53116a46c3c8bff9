"""gridwarden and what Argus does in one gridmapdir."""

from __future__ import annotations

import grp
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.mapper import map_files
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.naming import suffix_groups
from gridwarden.mapper.site import LeaseValues
from tests.argus import argus_account, argus_groups, argus_name
from tests.gridmap import asked, holders_of_accounts, make_accounts, person

GROUPS = sorted(
    (entry.gr_name for entry in grp.getgrall() if entry.gr_gid < 10), key=lambda name: grp.getgrnam(name).gr_gid
)
FQANS = ["/cms", "/cms/a", "/cms/b", "/cms/Role=pilot", "/cms/none"]


@pytest.fixture
def in_order(tmp_path):
    """A group map file in the order of the gids, one line an FQAN, one group a line; and what Argus reads of it."""
    lines = list(zip(FQANS, [*GROUPS[:3], GROUPS[2]], strict=False))
    path = tmp_path / "groupmapfile"
    path.write_text("".join(f'"{fqan}" {group}\n' for fqan, group in lines))
    return LeaseValues("dn-and-groups", path), [(fqan, [group]) for fqan, group in lines]


def theirs(site, identity, groups=()):
    return argus_account(site.gridmapdir, "cms", argus_name(identity.subject, list(groups)))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60))
def test_a_subject_has_one_name_with_both(name):
    subject = person(name).subject
    assert argus_name(subject, []) == lease_name(subject)


def test_a_lease_that_argus_made_is_followed(site, users):
    account = theirs(site, person("Jane"))
    found = asked(site, person("Jane"), users)
    assert (found.account, found.created, found.adopted) == (account, False, True)


def test_a_lease_that_gridwarden_made_is_followed_by_argus(site, users):
    assert theirs(site, person("Jane")) == asked(site, person("Jane"), users).account


@given(st.lists(st.sampled_from(FQANS), min_size=1, unique=True))
def test_groups_are_written_alike_where_the_map_is_in_the_order_of_the_gids(fqans):
    lines = list(zip(FQANS, [*GROUPS[:3], GROUPS[2]], strict=False))
    ours = map_files.parse("".join(f'"{fqan}" {group}\n' for fqan, group in lines).encode(), "groupmapfile")
    argus = [(fqan, [group]) for fqan, group in lines]
    assert list(suffix_groups(fqans, ours, grp)) == argus_groups(tuple(fqans), argus)


def test_who_has_several_groups_keeps_the_account_from_either(site, users, in_order):
    leases, argus = in_order
    site = site._replace(leases=leases)
    jane, bela = person("Jane", ("/cms", "/cms/b", "/cms/a")), person("Bela", ("/cms/b", "/cms"))
    assert theirs(site, jane, argus_groups(jane.fqans, argus)) == asked(site, jane, users).account
    assert asked(site, bela, users).account == theirs(site, bela, argus_groups(bela.fqans, argus))


def test_who_is_named_otherwise_by_argus_has_an_account_from_each_and_shares_with_nobody(site, users, in_order):
    leases, argus = in_order
    jane = person("Jane", ("/cms", "/cms/b", "/cms/a"))
    account = theirs(site, jane, argus_groups(jane.fqans, argus[::-1]))
    found = asked(site._replace(leases=leases), jane, users)
    assert found.account != account
    assert sum(map(len, holders_of_accounts(site).values())) == 2


def test_an_account_that_cools_is_not_lent_by_argus(site):
    users = make_accounts(site, "cms001")
    found = asked(site, person("Jane"), users)
    (site.gridmapdir / found.name).rename(site.gridmapdir / f".gridwarden-cooling:{found.account}:{found.lease_id}")
    assert theirs(site, person("Jane")) is None
    assert theirs(site, person("Bela")) is None


def test_nobody_shares_when_argus_and_gridwarden_lease_at_once(site):
    users = make_accounts(site, *(f"cms{number:03}" for number in range(60)))
    people = [person(f"P{number}") for number in range(50)]

    def of_argus(start):
        return [(one.subject, theirs(site, one)) for one in people[start::2]]

    def of_ours(start):
        return [(one.subject, asked(site, one, users).account) for one in people[start::2][::-1]]

    with ThreadPoolExecutor(4) as crowd:
        found = [*crowd.map(of_argus, range(2)), *crowd.map(of_ours, range(2))]
    given_to = {(subject, account) for one in found for subject, account in one if account}
    assert len(given_to) == len({account for _, account in given_to}) == len(people)
    assert sum(map(len, holders_of_accounts(site).values())) == len(people)
