"""What the agent's child finds in a gridmapdir and publishes, without the site."""

from __future__ import annotations

import os
import subprocess

import pytest

from gridwarden import chain, holders, tab_file
from gridwarden.hooks.agent import lease_errand
from gridwarden.hooks.agent.leases import Leases
from gridwarden.hooks.agent.writer import Writer
from gridwarden.mapper import ban_files, site_cache
from tests.apart import in_private_mounts
from tests.gridmap import asked, lcmaps_links, person

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives holder files to a group: needs root")
POOLS = ("cms", "atlas")


@pytest.fixture(autouse=True)
def _of_this_site(site, users, monkeypatch):
    import pwd  # noqa: PLC0415 - its functions are replaced

    monkeypatch.setattr(site_cache, "load", lambda _: site)
    monkeypatch.setattr(pwd, "getpwnam", users.getpwnam)
    monkeypatch.setattr(pwd, "getpwuid", users.getpwuid)


def look(site, known, *, bans=False):
    holding = str(site.holders)
    return tab_file.decode(lease_errand.look(str(site.gridmapdir), POOLS, known, "site.yaml", holding, bans=bans))


def learn(known, found):
    for line in found.get("seen", []):
        account, inode, lease, name = line.split(" ", 3)
        known[name] = (account, int(inode), "" if lease == "-" else lease)
    return known


def test_a_lease_of_another_machine_is_published_as_that_machine_would(site, users):
    asked(site, person(fqans=("/cms", "/cms/Role=pilot")), users)
    account = next(site.holders.iterdir()).name
    mapped = holders.read(site.holders, account)
    (site.holders / account).unlink()
    known = learn({}, look(site, {}))
    found = holders.read(site.holders, account)
    told = {name: getattr(found, name) for name in ("lease", "name", "subject", "vo", "fqans", "uid", "gid", "inode")}
    assert told == {name: getattr(mapped, name) for name in told}
    assert look(site, known) == {}


def test_where_the_gridmapdir_is_mounted_read_only_holders_come_and_go_all_the_same(site, users, tmp_path, monkeypatch):
    lease = asked(site, person(), users)
    (site.holders / lease.account).unlink()
    node = site._replace(gridmapdir=tmp_path / "mounted")
    node.gridmapdir.mkdir()
    monkeypatch.setattr(site_cache, "load", lambda _: node)

    def on_the_node():
        subprocess.run(["mount", "--bind", site.gridmapdir, node.gridmapdir], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", node.gridmapdir], check=True)
        known = learn({}, look(node, {}))
        assert holders.read(site.holders, lease.account).lease == lease.lease_id
        (site.gridmapdir / lease.name).unlink()
        assert look(node, known)["gone"] == [lease.name]
        assert not (site.holders / lease.account).exists()

    in_private_mounts(on_the_node)


def test_a_holder_file_that_was_removed_comes_back_while_its_lease_stands(site, users):
    lease = asked(site, person(), users)
    known = learn({}, look(site, {}))
    (site.holders / lease.account).unlink()
    found = look(site, known)
    assert found["said"] == [f"{lease.account} is held under lease {lease.lease_id}"]
    assert "seen" not in found, "it would be on record as a lease that has come"
    assert holders.read(site.holders, lease.account).lease == lease.lease_id
    assert look(site, known) == {}


def test_a_holder_file_that_says_more_stays_as_it_is(site, users):
    lease = asked(site, person(), users)
    before = (site.holders / lease.account).read_bytes()
    look(site, {})
    assert (site.holders / lease.account).read_bytes() == before
    assert b"credential\t01/test\n" in before


def test_a_lease_of_lcmaps_is_published_once_a_mapping_has_adopted_it(site, users):
    lcmaps_links(site, "cms002", person())
    known = learn({}, look(site, {}))
    assert [lease for _, _, lease in known.values()] == [""]
    assert list(site.holders.iterdir()) == []
    adopted = asked(site, person(), users)
    (site.holders / "cms002").unlink()
    assert [lease for _, _, lease in learn(known, look(site, known)).values()] == [adopted.lease_id]
    assert holders.read(site.holders, "cms002").lease == adopted.lease_id


def test_a_ban_that_is_in_force_is_published_with_the_holder(site, users):
    lease = asked(site, person("Eve"), users)
    (site.holders / lease.account).unlink()
    site.bans[0].write_text('"/DC=org/DC=example/CN=Eve"\n')
    look(site, {})
    assert holders.read(site.holders, lease.account).verdict == holders.BANNED


def test_bans_that_cannot_be_looked_at_hide_no_lease_and_are_named(site, users):
    lease = asked(site, person(), users)
    (site.bans[0].parent / ban_files.LOCK).mkdir()  # as where the file system is read-only
    found = look(site, {}, bans=True)
    assert found["failed"][0].startswith("verdicts of bans: ")
    assert learn({}, found)[lease.name][2] == lease.lease_id


def test_a_holder_is_taken_away_with_its_link_and_another_ones_is_not(site, users):
    lease = asked(site, person("Anna"), users)
    known = learn({}, look(site, {}))
    (site.gridmapdir / lease.name).unlink()
    other = asked(site, person("Bela"), users)
    if other.account == lease.account:  # lent again meanwhile: its holder file is Bela's now
        look(site, known)
        assert holders.read(site.holders, other.account).subject.endswith("Bela")
    else:
        assert look(site, known)["gone"] == [lease.name]
        assert not (site.holders / lease.account).exists()


def test_of_many_leases_each_look_tells_some_and_all_are_told_in_the_end(site, users, monkeypatch):
    monkeypatch.setattr(lease_errand, "MOST_AT_ONCE", 1)
    for name, account in (("Anna", "cms001"), ("Bela", "cms002"), ("Chen", "cms003")):
        lcmaps_links(site, account, person(name))
    known = {}
    for count in (1, 2, 3):
        assert len(learn(known, look(site, known))) == count


def test_a_gridmapdir_that_cannot_be_read_takes_no_holder_away(site, users):
    lease = asked(site, person(), users)
    known = learn({}, look(site, {}))
    site.gridmapdir.rename(site.gridmapdir.with_name("away"))
    assert look(site, known) == {"fault": ["no such file or directory"]}
    assert holders.read(site.holders, lease.account).account == lease.account


def test_leases_that_are_known_are_not_looked_at_one_by_one(site, users, monkeypatch):
    (site.gridmapdir / "cms001").unlink()
    for number in range(2000):
        (site.gridmapdir / f"cms{number:05}").touch()
        os.link(site.gridmapdir / f"cms{number:05}", site.gridmapdir / f"%2fcn%3d{number}")
    links = lease_errand.leases_in(str(site.gridmapdir), POOLS)
    assert len(links) == 2000
    for account, _ in links.values():
        (site.holders / account).touch()
    known = {name: (account, inode, "0" * 32) for name, (account, inode) in links.items()}
    monkeypatch.setattr(site_cache, "load", None)  # nothing of the mapper is asked
    assert look(site, known) == {}


def test_all_names_that_an_account_is_linked_to_at_once_are_on_record_with_one_time(site, users, tmp_path):
    """Else whoever was seen last would pass for the only one, and be given what the other ran."""

    def send(work, back, _seconds):
        reading, writing = os.pipe()
        work(writing)
        os.close(writing)
        with open(reading, "rb") as answer:
            back(answer.read())

    def looked(now):
        before = len(list(chain.read(site.ledger)))
        leases.on_tick(now)
        writer.flush(now)
        seen = [line.body for line in list(chain.read(site.ledger))[before:]]
        return [(body["name"], body["lease"]) for body in seen], {body["time"] for body in seen}

    about = {"gridmapdir": site.gridmapdir, "holders": site.holders, "ledger": site.ledger, "cluster": "site"}
    node = {name: [str(value)] for name, value in about.items()} | {"pool": list(POOLS)}
    writer = Writer(node, "n1")
    leases = Leases(node, "site.yaml", str(tmp_path / "seen"), writer, send)
    lease = asked(site, person(), users)
    ours, eve = (lease.name, lease.lease_id), "%2fcn%3deve"
    assert looked(100.0)[0] == [ours]
    os.link(site.gridmapdir / lease.account, site.gridmapdir / eve)
    seen, times = looked(200.0)
    assert sorted(seen) == sorted([ours, (eve, "")])
    assert len(times) == 1
    assert looked(300.0)[0] == []
    (site.gridmapdir / eve).unlink()
    assert looked(400.0)[0] == [ours]
