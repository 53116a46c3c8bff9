"""A release beside another release and beside a mapping, of a lease that only another program knows."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gridwarden import holders
from gridwarden.errors import BadQuestion
from gridwarden.mapper import cooling, release
from gridwarden.mapper.terms import HOUR, Terms
from tests.gridmap import asked, bodies, lcmaps_links, person

START = 1_700_000_000_000_000
WAIT = 0.5  # for what must not happen


class Asking:
    """The question whether an account is in use, which takes until it is told to end."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, _account):
        self.begun.set()
        assert self.may_end.wait(60)
        return ""


@pytest.fixture
def released(site, users, tmp_path):
    """Releases a lease as a machine of that name does: each has account locks of its own."""

    def released(which, node, ask):
        locks = tmp_path / f"locks-{node}"
        locks.mkdir(exist_ok=True)
        terms = Terms(HOUR, HOUR, HOUR, (), locks, (), "", "/nowhere", "/nowhere")
        return release.release(which, "left", "test", site._replace(node=node), terms, ask, lambda: START, users=users)

    return released


def cooling_names(site):
    return [path.name for path in site.gridmapdir.iterdir() if path.name.startswith(cooling.PREFIX)]


def test_a_lease_that_two_release_at_once_ends_once_and_has_one_record(site, released):
    name = lcmaps_links(site, "cms001", person()).name
    first, second = Asking(), Asking()
    second.may_end.set()
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(released, name, "n1", first)
        assert first.begun.wait(60)
        other = threads.submit(released, name, "n2", second)
        both_at_once = second.begun.wait(WAIT)
        first.may_end.set()
        assert one.result(60).state == release.RELEASED
        with pytest.raises(BadQuestion, match="any more"):
            other.result(60)
    assert not both_at_once
    (record,) = bodies(site, "release")
    assert cooling_names(site) == [cooling.name("cms001", record["lease"])]


def test_nobody_is_handed_an_account_by_a_lease_that_is_being_released(site, users, released):
    name = lcmaps_links(site, "cms001", person()).name
    ask = Asking()
    with ThreadPoolExecutor(2) as threads:
        ending = threads.submit(released, name, "n1", ask)
        assert ask.begun.wait(60)
        mapping = threads.submit(asked, site, person(), users)
        mapped_meanwhile = threading.Event().wait(WAIT) or mapping.done()
        ask.may_end.set()
        assert ending.result(60).state == release.RELEASED
        lease = mapping.result(60)
    assert not mapped_meanwhile
    assert lease.created
    assert (site.gridmapdir / name).samefile(site.gridmapdir / lease.account)
    assert holders.read(site.holders, lease.account).lease == lease.lease_id
    (cold,) = cooling_names(site)
    assert (site.gridmapdir / cold).samefile(site.gridmapdir / "cms001")
