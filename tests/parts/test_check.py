"""Check and repair in real directories, beside real mappings."""

from __future__ import annotations

import os
import subprocess
import threading
import time

from gridwarden import chain, holders
from gridwarden.mapper import cooling, names
from gridwarden.mapper.directory_view import WITHDRAWN
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.repair import check_directory, take_away
from tests.gridmap import asked, bodies, holders_of_accounts, lcmaps_links, make_accounts, person, state

POOLS = ("cms", "atlas")
ANNA, BELA = person("Anna"), person("Bela")


def path_of(site, identity):
    return site.gridmapdir / lease_name(identity.subject)


def holders_of_names(site, account):
    """Every name of an account's file."""
    return [path for path in site.gridmapdir.iterdir() if path.samefile(site.gridmapdir / account)]


def kinds(site, users):
    """What a check finds; it changes nothing."""
    before = state(site)
    found = [(outcome.finding.kind, outcome.state) for outcome in check_directory(site, POOLS, users=users)]
    assert state(site) == before
    return found


def repaired(site, users):
    """What a repair did, each recorded; nothing that could be repaired is left."""
    before = len(bodies(site, "repair"))
    outcomes = check_directory(site, POOLS, repair=True, users=users)
    done = [outcome.finding.kind for outcome in outcomes if outcome.state == "repaired"]
    records = bodies(site, "repair")[before:]
    assert [record["what"] for record in records] == done
    assert all(record["detail"] and record["name"] for record in records)
    assert not [kind for kind, repair in kinds(site, users) if repair == "repairable"]
    return done


def test_after_ordinary_mappings_there_is_nothing_to_find(site, users):
    asked(site, ANNA, users)
    lcmaps_links(site, next(a for a, held in holders_of_accounts(site).items() if not held), BELA)
    assert kinds(site, users) == []


def test_what_a_killed_program_began_to_write_is_removed_once_nobody_can_be_at_it(site, users):
    asked(site, ANNA, users)
    own = site.gridmapdir / ".gridwarden"
    old, new = own / "names" / ".new-0011223344556677", own / "leases" / ".new-8899aabbccddeeff"
    for path in (old, new):
        path.write_text("x509\n/DC=org")
    os.utime(old, (time.time() - 4000,) * 2)
    assert repaired(site, users) == ["half-made"]
    assert not old.exists()
    assert new.exists()


def test_a_name_lost_from_the_registry_is_the_same_persons_again(site, users):
    lease = asked(site, ANNA, users)
    claim = site.gridmapdir / ".gridwarden" / "names" / lease.name
    before = claim.read_bytes()
    claim.unlink()
    assert repaired(site, users) == ["claim-lost"]
    assert claim.read_bytes() == before
    assert asked(site, ANNA, users).lease_id == lease.lease_id


def test_what_was_lost_of_a_lease_is_written_again_as_its_holder_file_says(site, users):
    found = asked(site, person("Anna"), users)
    for kind in ("names", "leases"):
        (site.gridmapdir / ".gridwarden" / kind / found.name).unlink()
    repaired(site, users)
    with Gridmapdir(site.gridmapdir) as directory:
        file = names.read_lease(directory, found.name)
    assert (file.lease, file.subject) == (found.lease_id, person("Anna").subject)
    assert names.exact(person("Anna")) == (site.gridmapdir / ".gridwarden" / "names" / found.name).read_bytes()


def test_no_repair_gives_a_lease_to_one_of_two_people_whom_our_files_name(site, users):
    found = asked(site, person("Anna"), users)
    own = site.gridmapdir / ".gridwarden"
    (own / "leases" / found.name).unlink()
    (own / "names" / found.name).write_bytes(names.exact(person("anna")))
    check_directory(site, POOLS, repair=True, users=users)
    assert not (own / "leases" / found.name).exists()


def test_of_three_links_the_one_that_was_handed_out_stays(site, users):
    found = asked(site, ANNA, users)
    lcmaps_links(site, found.account, BELA)
    assert kinds(site, users) == [("three-links", "repairable")]
    assert repaired(site, users) == ["three-links"]
    assert holders_of_accounts(site)[found.account] == [found.name]
    assert asked(site, ANNA, users).lease_id == found.lease_id
    assert asked(site, BELA, users).account != found.account


def test_three_links_of_which_nothing_is_known_are_left_to_a_person(site, users):
    for identity in (ANNA, BELA):
        lcmaps_links(site, "cms001", identity)
    assert repaired(site, users) == []
    assert len(holders_of_names(site, "cms001")) == 3
    assert kinds(site, users) == [("three-links", "look")] * 2


def test_a_lease_that_was_expired_behind_our_back_is_linked_again_under_its_id(site, users):
    found = asked(site, ANNA, users)
    path_of(site, ANNA).unlink()
    (site.holders / found.account).unlink()
    assert repaired(site, users) == ["lease-removed"]
    again = asked(site, ANNA, users)
    assert (again.account, again.lease_id, again.adopted) == (found.account, found.lease_id, False)


def test_an_account_that_somebody_else_took_meanwhile_is_not_taken_back(site, users):
    found = asked(site, ANNA, users)
    path_of(site, ANNA).unlink()
    lcmaps_links(site, found.account, BELA)
    assert repaired(site, users) == ["lease-file-left"]
    assert ("holder-without-lease", "look") in kinds(site, users)
    assert holders_of_accounts(site)[found.account] == [lease_name(BELA.subject)]


def test_an_account_file_that_was_removed_comes_back_with_its_holder(site, users):
    found = asked(site, ANNA, users)
    (site.gridmapdir / found.account).unlink()
    assert repaired(site, users) == ["account-removed"]
    assert asked(site, ANNA, users) == found._replace(created=False, record=None)


def test_a_solitary_lease_of_another_program_goes(site, users):
    lcmaps_links(site, "cms001", ANNA)
    (site.gridmapdir / "cms001").unlink()
    assert repaired(site, users) == ["solitary-lease"]
    assert asked(site, ANNA, users).created


def test_a_release_that_was_killed_after_its_rename_is_finished(site, users):
    found = asked(site, ANNA, users)
    cold = site.gridmapdir / f"{cooling.PREFIX}{found.account}:{found.lease_id}"
    path_of(site, ANNA).rename(cold)
    assert sorted(repaired(site, users)) == ["cooling-unrecorded", "holder-left", "lease-file-left"]
    assert not (site.holders / found.account).exists()
    assert cold.exists()
    assert asked(site, ANNA, users).account != found.account
    assert kinds(site, users) == []


def test_leases_keep_their_ids_in_a_copied_directory(site, users, tmp_path):
    found = asked(site, ANNA, users)
    site.gridmapdir.rename(tmp_path / "old")
    subprocess.run(["cp", "-a", tmp_path / "old", site.gridmapdir], check=True)
    assert repaired(site, users) == ["lease-file-wrong", "holder-of-copy"]
    holder = holders.read(site.holders, found.account)
    assert (holder.lease, holder.inode) == (found.lease_id, path_of(site, ANNA).stat().st_ino)
    again = asked(site, ANNA, users)
    assert (again.account, again.lease_id, again.record) == (found.account, found.lease_id, None)


def test_a_lost_lease_file_is_made_again_of_the_holder_file(site, users):
    found = asked(site, ANNA, users)
    (site.gridmapdir / ".gridwarden/leases" / found.name).unlink()
    assert repaired(site, users) == ["lease-file-missing"]
    with Gridmapdir(site.gridmapdir) as directory:
        assert names.read_lease(directory, found.name).lease == found.lease_id


def test_what_an_interrupted_repair_left_is_taken_away(site, users):
    found = asked(site, ANNA, users)
    lcmaps_links(site, found.account, BELA).rename(site.gridmapdir / f"{WITHDRAWN}00")
    assert repaired(site, users) == ["three-links"]
    assert len(holders_of_accounts(site)[found.account]) == 1


def test_a_lease_made_while_a_link_was_to_be_taken_away_is_put_back(site, users):
    path = lcmaps_links(site, "cms002", ANNA)

    class Late(Gridmapdir):
        """One that looked before another program put its lease there."""

        def look(self, name):
            status = super().look(name)
            fresh = name == path.name and status and not hasattr(self, "late")
            self.late = True
            return os.lstat(site.gridmapdir / "cms001") if fresh else status

    with Late(site.gridmapdir) as directory:
        take_away(directory, path.name, (site.gridmapdir / "cms001").stat().st_ino)
    assert holders_of_accounts(site)["cms002"] == [path.name]


def test_unknown_users_and_wrong_pools_are_left_to_a_person(site, users):
    found = asked(site, ANNA, users)
    (site.gridmapdir / "cms009").touch(mode=0o644)
    site = site._replace(rules=(site.rules[1]._replace(pool="atlas"),))
    assert kinds(site, users) == [("wrong-pool", "look"), ("account-unusable", "look")]
    assert repaired(site, users) == []
    assert found.account in holders_of_accounts(site)


def test_a_check_beside_mappings_takes_nothing_from_anybody(site):
    """Processes' steps in between are not taken for faults, and repairs hurt nobody."""
    accounts = [f"cms{n:03}" for n in range(1, 41)]
    users = make_accounts(site, *accounts)
    given, stop = {}, threading.Event()

    def mapping(which):
        for number in range(10):
            name = f"{which} {number}"
            given[name] = asked(site, person(name), users).account

    def checking():
        while not stop.is_set():
            check_directory(site, POOLS, repair=True, users=users)

    checker = threading.Thread(target=checking)
    workers = [threading.Thread(target=mapping, args=(which,)) for which in "abcd"]
    for thread in (checker, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    checker.join()
    assert len(set(given.values())) == len(given) == 40
    assert all(asked(site, person(name), users).account == account for name, account in given.items())
    assert not chain.faults(site.ledger)
    assert kinds(site, users) == []
