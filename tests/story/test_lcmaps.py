"""gridwarden and the real LCMAPS in one gridmapdir."""

from __future__ import annotations

import random
import string
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridwarden import chain
from gridwarden.errors import ConfigurationError
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.naming import name_of
from gridwarden.mapper.site import LeaseValues
from tests.gridmap import holders_of_accounts, person
from tests.site.lcmaps import VOMS_FORM, LcmapsRefusedError, lcmaps_map, lcmaps_names

FQANS = ("/atlas",)
GROUPS = LeaseValues("dn-and-groups", Path("/etc/grid-security/groupmapfile"), slots=20)


@pytest.fixture
def with_groups(site):
    """The site, with leases named after DN and groups; one gid has two names."""
    subprocess.run(["groupadd", "--force", "--non-unique", "--gid", "2104", "gridusers"], check=True)
    return site._replace(leases=GROUPS)


def ours(site, identity, slot=0):
    return map_identity(identity, site, silent, slot=slot)


NAMES = [
    "Jane Roe",
    "Jane O'Neil-Smith (7)",
    "50% off",
    "a.b_c@d:e",
    "Jos\\xC3\\xA9",
    'tab"quote',
    "x=y/z#*?[]",
    "pilot\\/ce.example.org",
    "anna\\+grid",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_lease_that_lcmaps_made_is_followed(site, name):
    identity = person(name, FQANS)
    theirs = lcmaps_map(identity.subject, FQANS)
    found = ours(site, identity)
    assert theirs.lease_name == found.name == lease_name(identity.subject)
    assert (found.account, found.created, found.adopted) == (theirs.account, False, True)
    (record,) = (line.body for line in chain.read(site.ledger) if line.body.get("lease") == found.lease_id)
    assert record["adopted"] == 1


@pytest.mark.parametrize("name", [f"second {name}" for name in NAMES])
def test_a_lease_that_gridwarden_made_is_followed_by_lcmaps(site, name):
    identity = person(name, FQANS)
    found = ours(site, identity)
    assert found.created
    assert lcmaps_map(identity.subject, FQANS) == (found.account, found.name)


VOMS = [
    "/atlas",
    "/atlas/Role=pilot /atlas",
    "/atlas /atlas/Role=pilot",
    "/atlas/a /atlas/b /atlas/c /atlas",
    "/atlas/c /atlas/b /atlas/a /atlas/b",
    "/atlas/none/x /atlas/c /atlas/a",
    "/atlas /atlas /atlas",
    "/atlas/multi /atlas",
    "/atlas/alias /atlas/b",
    "/atlas/esc",
    "/atlas/none/x",
]


@pytest.mark.parametrize("fqans", VOMS)
def test_a_lease_with_groups_that_lcmaps_made_is_followed(with_groups, fqans):
    identity = person("Voms", tuple(fqans.split()))
    theirs = lcmaps_map(identity.subject, identity.fqans, VOMS_FORM)
    found = ours(with_groups, identity)
    assert (found.account, found.name, found.created, found.adopted) == (*theirs, False, True)


@pytest.mark.parametrize("fqans", VOMS)
@pytest.mark.parametrize("slot", [0, 1, 12])
def test_a_lease_with_groups_and_slot_that_gridwarden_made_is_followed_by_lcmaps(with_groups, fqans, slot):
    identity = person("Voms", tuple(fqans.split()))
    found = ours(with_groups, identity, slot)
    assert found.created
    assert lcmaps_map(identity.subject, identity.fqans, VOMS_FORM, slot or -1) == (found.account, found.name)


def test_both_refuse_who_would_get_a_group_that_does_not_exist(with_groups):
    identity = person("Lost", ("/atlas", "/atlas/lost"))
    with pytest.raises(ConfigurationError, match="no-such-group"):
        ours(with_groups, identity)
    with pytest.raises(LcmapsRefusedError, match="no-such-group"):
        lcmaps_map(identity.subject, identity.fqans, VOMS_FORM)


def test_a_name_too_long_for_lcmaps_still_gets_an_account(site):
    identity = person("x" * 300, FQANS)
    assert ours(site, identity).name.startswith("%sha256-")
    with pytest.raises(LcmapsRefusedError, match="File name too long"):
        lcmaps_map(identity.subject, FQANS)


def test_the_names_of_600_people_are_those_that_lcmaps_writes(site):
    chance = random.Random(600)
    printable = string.digits + string.ascii_letters + string.punctuation + " "
    people = ["/" + "".join(chance.choices(printable, k=chance.randint(1, 84))) for _ in range(600)]
    plain = [person()._replace(subject=subject, fqans=FQANS) for subject in people]
    assert lcmaps_names(people, FQANS) == [name_of(identity, site.leases) for identity in plain]
    assert lcmaps_names(people, ["/atlas/c", "/atlas"], VOMS_FORM) == [
        name_of(identity._replace(fqans=("/atlas/c", "/atlas")), GROUPS) for identity in plain
    ]


def test_what_lcmaps_writes_for_a_byte_that_is_not_ascii_is_the_name_of_nobody_here(site):
    """It writes %ff for each; a DN in slash form is ASCII, so no name of ours has that."""
    chance = random.Random(200)
    people = ["/CN=" + "".join(chance.choices("aZ é\u65e5\udcff", k=30)) + "é" + "x" * 20 for _ in range(200)]
    assert all("%ff" in name for name in lcmaps_names(people, FQANS) if name)


def test_the_mapping_of_a_proxy_gives_the_account_that_lcmaps_gave(site, people):
    theirs = lcmaps_map(people.dora.subject, tuple(people.dora.fqans))
    command = ["gridwarden", "map", "--proxy", people.dora.proxy]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{theirs.account}\n"
    assert theirs.account in holders_of_accounts(site)


def test_nobody_shares_an_account_when_both_lease_at_once(site):
    def lease_by_lcmaps(number):
        try:
            return lcmaps_map(person(f"L {number}", FQANS).subject, FQANS).account
        except LcmapsRefusedError:  # it refuses when it meets another; that is why gridwarden does not
            return None

    with ThreadPoolExecutor(8) as pool:
        theirs = pool.map(lease_by_lcmaps, range(6))
        mine = pool.map(lambda number: ours(site, person(f"G {number}", FQANS)).account, range(6))
        mine = list(mine)
        theirs = [account for account in theirs if account]

    assert len(set(mine)) == 6
    assert not set(mine) & set(theirs)
    assert all(len(leases) <= 1 for leases in holders_of_accounts(site).values())
