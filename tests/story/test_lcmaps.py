"""gridwarden and the real LCMAPS in one gridmapdir."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridwarden import chain
from gridwarden.load_settings import load
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.site import from_settings
from tests.gridmap import holders_of_accounts, person
from tests.site.lcmaps import LcmapsRefusedError, lcmaps_map

FQANS = ("/atlas",)


@pytest.fixture
def site():
    """The running site; what the test leased is free again afterwards."""
    site = from_settings(load(Path("/etc/gridwarden/site.yaml")))
    before = set(site.gridmapdir.iterdir())
    yield site
    for lease in set(site.gridmapdir.iterdir()) - before:
        if lease.name.startswith("%"):
            account = holders_of_accounts(site)
            (held,) = (name for name, leases in account.items() if lease.name in leases)
            lease.unlink()
            (site.holders / held).unlink(missing_ok=True)


def ours(site, identity):
    return map_identity(identity, site, silent)


NAMES = ["Jane Roe", "Jane O'Neil-Smith (7)", "50% off", "a.b_c@d:e", "Jos\\xC3\\xA9", 'tab"quote', "x=y/z#*?[]"]


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
