from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from gridwarden import holders, reasons
from gridwarden.errors import ConfigurationError, EvidenceError, Refused, Unavailable
from gridwarden.mapper import lease, linking, mapping
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.foresee import foresee_identity
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.site import LeaseValues
from tests.apart import in_child, in_private_mounts
from tests.gridmap import (
    Users,
    asked,
    bodies,
    holders_of_accounts,
    lcmaps_links,
    make_accounts,
    make_site,
    person,
    state,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system in a namespace of its own: needs root")


def refusal(site, identity, users):
    """The refusal of a mapping that must have changed nothing that matters: no lease, no holder, no record."""
    before = holders_of_accounts(site), sorted(os.listdir(site.holders)), bodies(site, "lease")
    with pytest.raises(Refused) as caught:
        asked(site, identity, users)
    assert (holders_of_accounts(site), sorted(os.listdir(site.holders)), bodies(site, "lease")) == before
    return caught.value


# Who gets what


def test_a_person_is_lent_a_free_account_and_keeps_it(site, users):
    first = asked(site, person("Anna"), users)
    again = asked(site, person("Anna"), users)

    assert first.created
    assert not first.adopted
    assert again == first._replace(created=False, record=None)
    assert holders_of_accounts(site)[first.account] == [lease_name(person("Anna").subject)]
    assert (first.uid, first.gid) == (users.uids[first.account], 20000)
    assert [record["lease"] for record in bodies(site, "lease")] == [first.lease_id]


def test_hooks_can_read_whose_the_account_is_and_verify_the_link(site, users):
    anna = person("Anna", ("/cms/higgs", "/cms"))
    found = asked(site, anna, users)
    holder = holders.read(site.holders, found.account)

    assert (holder.scheme, holder.subject, holder.fqans, holder.vo) == ("x509", anna.subject, anna.fqans, "cms")
    assert (holder.lease, holder.name, holder.verdict) == (found.lease_id, found.name, "ok")
    assert holder.inode == os.lstat(site.gridmapdir / holder.name).st_ino
    assert abs(time.time() - holder.since / 1e6) < 3600


def test_two_people_never_share_an_account(site, users):
    accounts = [asked(site, person(name), users).account for name in ("Anna", "Bela", "Chen")]
    assert sorted(accounts) == ["cms001", "cms002", "cms003"]


def test_people_whose_names_differ_only_in_case_never_share_an_account(site, users):
    asked(site, person("Anna"), users)
    refused = refusal(site, person("ANNA"), users)
    assert refused.reason == reasons.LEASE_NAME_COLLISION
    assert "CN=Anna" in refused.detail
    assert "CN=ANNA" in refused.detail


def test_the_first_of_two_such_names_keeps_it_when_the_lease_has_ended(site, users):
    asked(site, person("Anna"), users)
    (site.gridmapdir / lease_name(person("Anna").subject)).unlink()
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION


def test_a_lease_in_use_looks_fresh_to_programs_that_expire_leases(site, users):
    found = asked(site, person(), users)
    os.utime(site.gridmapdir / found.account, (1, 1))
    asked(site, person(), users)
    assert os.lstat(site.gridmapdir / found.name).st_mtime > 1


def test_new_attributes_are_recorded_and_published_under_the_same_lease(site, users):
    first = asked(site, person("Anna", ("/cms",)), users)
    again = asked(site, person("Anna", ("/cms", "/cms/higgs")), users)
    assert again.lease_id == first.lease_id
    assert [record["fqans"] for record in bodies(site, "lease")] == ["/cms", "/cms /cms/higgs"]
    assert holders.read(site.holders, first.account).fqans == ("/cms", "/cms/higgs")


def test_a_lease_keeps_its_id_after_a_restart_of_the_machine(site, users):
    before = asked(site, person(), users)
    since = holders.read(site.holders, before.account).since
    holders.remove(site.holders, before.account)
    after = asked(site, person(), users)
    assert after[:7] == before[:7]
    assert holders.read(site.holders, after.account).since == since
    assert [record["lease"] for record in bodies(site, "lease")] == [before.lease_id] * 2


def test_a_lease_keeps_its_id_when_only_the_holder_file_is_left(site, users):
    before = asked(site, person(), users)
    shutil.rmtree(site.gridmapdir / ".gridwarden" / "leases")
    assert asked(site, person(), users) == before._replace(created=False, record=None)


def test_a_second_lease_of_the_same_person_does_not_pass_for_the_first(site, users):
    first = asked(site, person(), users)
    (site.gridmapdir / first.name).unlink()
    holders.remove(site.holders, first.account)
    assert asked(site, person(), users).lease_id != first.lease_id


def test_a_lost_registry_lets_nobody_into_the_lease_of_a_person_who_is_written_alike(site, users):
    found = asked(site, person("Anna"), users)
    shutil.rmtree(site.gridmapdir / ".gridwarden" / "names")
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION
    with pytest.raises(Refused, match="would have the lease name of x509 /DC=org/DC=example/CN=Anna"):
        foresee_identity(person("ANNA"), site, silent, users)
    holders.remove(site.holders, found.account)
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION
    assert asked(site, person("Anna"), users).lease_id == found.lease_id


def test_a_lease_file_that_does_not_say_whose_it_is_leaves_that_to_the_registry(site, users):
    found = asked(site, person("Anna"), users)
    file = site.gridmapdir / ".gridwarden" / "leases" / found.name
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if not line.startswith((b"scheme", b"subject"))))
    assert asked(site, person("Anna"), users).lease_id == found.lease_id
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION


def test_where_all_of_our_own_files_were_lost_the_holder_file_still_knows_whose_a_lease_is(site, users):
    found = asked(site, person("Anna"), users)
    shutil.rmtree(site.gridmapdir / ".gridwarden")
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION
    assert holders.read(site.holders, found.account).subject == person("Anna").subject
    assert asked(site, person("Anna"), users).lease_id == found.lease_id
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION


def test_where_all_of_our_own_files_were_lost_a_holder_file_that_says_nothing_lets_nobody_in(site, users):
    found, other = asked(site, person("Anna"), users), asked(site, person("Bela"), users)
    shutil.rmtree(site.gridmapdir / ".gridwarden")
    (site.holders / found.account).write_bytes(b"")
    assert refusal(site, person("ANNA"), users).reason == reasons.HOLDER_INVALID
    assert asked(site, person("Bela"), users).lease_id == other.lease_id


def test_an_old_lease_file_and_a_lost_name_leave_it_to_the_holder_file(site, users):
    found = asked(site, person("Anna"), users)
    file = site.gridmapdir / ".gridwarden" / "leases" / found.name
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if not line.startswith((b"scheme", b"subject"))))
    (site.gridmapdir / ".gridwarden" / "names" / found.name).unlink()
    assert refusal(site, person("ANNA"), users).reason == reasons.LEASE_NAME_COLLISION
    assert asked(site, person("Anna"), users).lease_id == found.lease_id
    assert b"Anna" in file.read_bytes(), "the next time the lease file says it itself"


@pytest.mark.parametrize("spoilt", [b"since\t99999999999999999999", b"lease\tZZ/../" + b"0" * 26])
def test_a_spoilt_lease_file_is_none(site, users, spoilt):
    found = asked(site, person("Anna"), users)
    file = site.gridmapdir / ".gridwarden" / "leases" / found.name
    key = spoilt.partition(b"\t")[0]
    file.write_bytes(
        b"".join(
            spoilt + b"\n" if line.startswith(key) else line for line in file.read_bytes().splitlines(keepends=True)
        )
    )
    assert asked(site, person("Anna"), users).lease_id == found.lease_id, "which the holder file knows as well"


def test_a_person_whose_name_is_too_long_for_a_file_is_lent_an_account_of_their_own(site, users):
    people = [person("x" * 250 + end) for end in ("a", "A", "b")]
    accounts = [asked(site, identity, users).account for identity in people]
    assert sorted(accounts) == ["cms001", "cms002", "cms003"]
    assert [asked(site, identity, users).account for identity in people] == accounts
    assert all(account[0] != "%" for account in holders_of_accounts(site))


def test_each_job_slot_of_a_person_has_an_account_of_its_own(site, users):
    site = site._replace(leases=LeaseValues(slots=2))
    accounts = [map_identity(person(), site, silent, users, slot).account for slot in (0, 1, 2)]
    assert len(set(accounts)) == 3
    assert [map_identity(person(), site, silent, users, slot).account for slot in (0, 1, 2)] == accounts
    with pytest.raises(Refused, match="slot 3 was asked for"):
        map_identity(person(), site, silent, users, 3)


def test_a_person_has_an_account_for_each_set_of_groups_where_the_site_says_so(site, users, tmp_path):
    (tmp_path / "groupmapfile").write_text('"/cms" root\n')
    site = site._replace(leases=LeaseValues("dn-and-groups", tmp_path / "groupmapfile"))
    found = asked(site, person(fqans=("/cms",)), users)
    assert found.name == lease_name(person().subject, ("root",))
    assert asked(site, person(fqans=("/cms/none", "/cms")), users).account == found.account
    assert asked(site, person(fqans=("/cms", "/cms")), users).account != found.account


# Beside other programs


def test_a_lease_that_lcmaps_made_is_followed_and_recorded_as_adopted(site, users):
    lcmaps_links(site, "cms002", person("Anna"))
    found = asked(site, person("Anna"), users)
    assert (found.account, found.created, found.adopted) == ("cms002", False, True)
    assert [(record["account"], record["adopted"]) for record in bodies(site, "lease")] == [("cms002", 1)]
    assert asked(site, person("Anna"), users) == found._replace(adopted=False, record=None)


def test_a_lease_that_lcmaps_made_is_handed_to_nobody_where_the_site_trusts_only_its_own(site, users):
    site = site._replace(leases=LeaseValues(adopted="refuse"))
    lcmaps_links(site, "cms002", person("Anna"))
    os.utime(site.gridmapdir / "cms002", (1, 1))
    assert refusal(site, person("Anna"), users).reason == reasons.LEASE_NOT_OURS
    assert os.lstat(site.gridmapdir / "cms002").st_mtime == 1, "it looks used"
    with pytest.raises(Refused, match="lease-not-ours"):
        foresee_identity(person("Anna"), site, silent, users)
    assert bodies(site, "lease") == []
    assert list(site.holders.iterdir()) == []


def test_a_site_that_trusts_only_its_own_leases_follows_those(site, users):
    site = site._replace(leases=LeaseValues(adopted="refuse"))
    found = asked(site, person(), users)
    assert asked(site, person(), users).account == found.account
    shutil.rmtree(site.gridmapdir / ".gridwarden" / "leases")
    assert asked(site, person(), users).lease_id == found.lease_id, "the holder file knows it too"
    assert foresee_identity(person(), site, silent, users) == found.account


def test_a_lease_that_another_program_moved_is_a_new_lease(site, users):
    first = asked(site, person(), users)
    (site.gridmapdir / first.name).unlink()
    other = next(account for account in users.uids if account != first.account)
    lcmaps_links(site, other, person())
    found = asked(site, person(), users)
    assert (found.account, found.adopted) == (other, True)
    assert found.lease_id != first.lease_id


def test_an_account_that_another_program_freed_is_not_lent_while_its_holder_may_have_left_things(site, users):
    taken = [asked(site, person(name), users) for name in ("Anna", "Bela", "Chen")]
    (site.gridmapdir / taken[0].name).unlink()
    refused = refusal(site, person("Dora"), users)
    assert refused.reason == reasons.POOL_FULL
    assert f"1 not usable ({taken[0].account}: its lease was removed by another program" in refused.detail


def test_who_is_leased_by_another_program_at_that_moment_gets_that_lease(site, users):
    class Racing(Users):
        def getpwnam(self, name):
            if not holders_of_accounts(site)["cms003"]:
                lcmaps_links(site, "cms003", person())
            return super().getpwnam(name)

    assert asked(site, person(), Racing(*users.uids)).account == "cms003"


def test_an_account_taken_by_another_program_at_that_moment_is_passed_over(site, users):
    class Racing(Users):
        taken: str | None = None

        def getpwnam(self, name):
            if not self.taken:
                self.taken = name
                lcmaps_links(site, name, person("Bela"))
            return super().getpwnam(name)

    racing = Racing(*users.uids)
    assert asked(site, person("Anna"), racing).account != racing.taken


class Meeting(Gridmapdir):
    """A gridmapdir in which somebody else links the same account at the same moment, and `leaves` it or not."""

    other = "%2fcn%3dother"
    leaves = True

    def link(self, account, name):
        super().link(account, name)
        os.link(Path(self.path) / account, Path(self.path) / self.other)

    def look(self, name):
        status = super().look(name)
        if self.leaves and status and status.st_nlink == 3:
            (Path(self.path) / self.other).unlink()
        return status


def test_a_link_is_not_taken_back_once_it_is_the_only_one_since_its_holder_may_be_at_work(site, users):
    with Meeting(site.gridmapdir) as directory:
        link = linking.try_account(directory, "cms001", "%2fcn%3danna")
    assert link
    assert link.created
    assert holders_of_accounts(site)["cms001"] == ["%2fcn%3danna"]


def test_a_link_is_taken_back_where_that_of_another_stays(site, users, monkeypatch):
    monkeypatch.setattr(Meeting, "leaves", False)
    with Meeting(site.gridmapdir) as directory:
        assert linking.try_account(directory, "cms001", "%2fcn%3danna") is None
    assert holders_of_accounts(site)["cms001"] == [Meeting.other]


def test_a_lease_removed_while_it_is_handed_out_is_not_handed_out(site, users):
    def remove(sentence):
        if "lent under" in sentence:
            (site.gridmapdir / lease_name(person().subject)).unlink()

    with pytest.raises(Refused) as caught:
        map_identity(person(), site, remove, users)
    assert caught.value.reason == reasons.LEASE_CORRUPT


def test_files_of_other_programs_are_left_alone(site, users):
    (site.gridmapdir / ".hidden").write_text("x")
    (site.gridmapdir / "README~").write_text("x")
    asked(site, person(), users)
    assert (site.gridmapdir / ".hidden").read_text() == (site.gridmapdir / "README~").read_text() == "x"


# Refusals


def test_a_full_pool_says_how_full_it_is(site, users):
    for name in ("Anna", "Bela", "Chen"):
        asked(site, person(name), users)
    refused = refusal(site, person("Dora"), users)
    assert refused.reason == reasons.POOL_FULL
    assert refused.detail == "pool cms has 3 accounts, 3 taken"


def test_a_pool_without_accounts_says_so(site, users):
    refused = refusal(site, person("Chen", ("/atlas",)), users)
    assert refused.detail == "pool atlas has no account file in the gridmapdir"


def test_an_account_file_without_a_user_is_never_lent_and_is_named(site):
    make_accounts(site, "cms001", "cms002")
    users = Users("cms001")
    assert asked(site, person("Anna"), users).account == "cms001"
    refused = refusal(site, person("Bela"), users)
    assert refused.detail == "pool cms has 2 accounts, 1 taken, 1 not usable (cms002: cms002 has no passwd entry)"


@pytest.mark.parametrize("uid", [0, 33, 999, 65534])
def test_a_pool_account_that_is_root_or_a_system_account_is_never_lent(site, uid):
    users = make_accounts(site, "cms001")
    users.uids["cms001"] = uid
    assert "has uid" in refusal(site, person(), users).detail


def test_an_account_that_shares_its_uid_with_another_is_never_lent(site):
    users = make_accounts(site, "cms001", "cms002")
    users.uids["cms002"] = users.uids["cms001"]
    assert asked(site, person("Anna"), users).account == "cms001"
    assert "uid 20001 is cms001" in refusal(site, person("Bela"), users).detail


@pytest.mark.parametrize("name", ["cms", "cmsprod01", "cms01x", "cms\u0661", ".cms01", "xcms01"])
def test_only_the_pools_name_and_digits_make_an_account_of_the_pool(site, name):
    users = make_accounts(site, name)
    assert "no account file" in refusal(site, person(), users).detail


def test_a_directory_or_link_named_as_an_account_is_never_lent(site, tmp_path):
    (tmp_path / "elsewhere").touch()
    (site.gridmapdir / "cms001").mkdir()
    (site.gridmapdir / "cms002").symlink_to(tmp_path / "elsewhere")
    assert refusal(site, person(), Users("cms001", "cms002")).reason == reasons.POOL_FULL
    assert os.stat(tmp_path / "elsewhere").st_nlink == 1


def test_an_account_file_that_is_linked_from_elsewhere_is_never_lent(site, tmp_path):
    users = make_accounts(site, "cms001")
    os.link(site.gridmapdir / "cms001", tmp_path / "backup")
    with pytest.raises(Refused, match="its file has 2 links, one of them elsewhere"):
        asked(site, person(), users)


def test_who_holds_an_account_of_another_pool_is_refused_rather_than_moved(site, users):
    users = Users(*users.uids, *make_accounts(site, "atlas001").uids)
    asked(site, person("Anna", ("/atlas",)), users)
    refused = refusal(site, person("Anna", ("/cms",)), users)
    assert refused.reason == reasons.LEASE_IN_OTHER_POOL
    assert "holds atlas001" in refused.detail


def test_a_leased_account_whose_user_is_gone_is_refused(site, users):
    found = asked(site, person(), users)
    del users.uids[found.account]
    assert refusal(site, person(), users).reason == reasons.ACCOUNT_UNKNOWN


def test_a_leased_account_that_became_privileged_is_refused(site, users):
    found = asked(site, person(), users)
    users.uids[found.account] = 0
    assert refusal(site, person(), users).reason == reasons.ACCOUNT_PRIVILEGED


def test_a_lease_whose_account_file_was_removed_is_refused(site, users):
    found = asked(site, person(), users)
    (site.gridmapdir / found.account).unlink()
    with pytest.raises(Refused, match="leads to no account") as caught:
        asked(site, person(), users)
    assert caught.value.reason == reasons.LEASE_CORRUPT


def test_an_account_with_two_leases_is_given_to_neither(site, users):
    """What a kill between a second link and its removal leaves."""
    found = asked(site, person("Anna"), users)
    lcmaps_links(site, found.account, person("Bela"))
    for name in ("Anna", "Bela"):
        with pytest.raises(Refused, match="3 links") as caught:
            asked(site, person(name), users)
        assert caught.value.reason == reasons.LEASE_CORRUPT


def test_a_lease_name_that_is_no_hard_link_is_refused(site, users):
    (site.gridmapdir / lease_name(person().subject)).symlink_to("cms001")
    with pytest.raises(Refused) as caught:
        asked(site, person(), users)
    assert caught.value.reason == reasons.LEASE_CORRUPT


def test_two_lease_names_of_one_inode_are_no_lease(site, users):
    found = asked(site, person(), users)
    (site.gridmapdir / found.account).rename(site.gridmapdir / "%2fcn%3dother")
    with pytest.raises(Refused, match="none of the two is an account"):
        asked(site, person(), users)


def test_who_matches_no_rule_leaves_no_trace(site, users):
    before = state(site)
    with pytest.raises(Refused) as caught:
        asked(site, person("Chen", ("/ops",)), users)
    assert caught.value.reason == reasons.POLICY_NO_MATCH
    assert state(site) == before


# Fixed accounts


def test_people_who_share_a_fixed_account_are_not_passed_off_as_one_of_them(site):
    users = Users("cmsprod")
    production = ("/cms/Role=production",)
    leases = [asked(site, person(name, production), users) for name in ("Anna", "Bela", "Anna")]
    holder = holders.read(site.holders, "cmsprod")

    assert len({found.lease_id for found in leases}) == 1
    assert (holder.scheme, holder.subject, holder.vo) == ("local", "cmsprod", "cms")
    assert (holder.name, holder.inode, holder.lease) == ("", 0, leases[0].lease_id)
    assert [str(record["subject"])[-4:] for record in bodies(site, "lease")] == ["Anna", "Bela", "Anna"]


def test_a_fixed_account_without_a_user_is_refused(site):
    assert refusal(site, person("Anna", ("/cms/Role=production",)), Users()).reason == reasons.ACCOUNT_UNKNOWN


def test_a_fixed_account_that_is_a_system_account_is_refused(site):
    users = Users("cmsprod")
    users.uids["cmsprod"] = 100
    assert refusal(site, person("Anna", ("/cms/Role=production",)), users).reason == reasons.ACCOUNT_PRIVILEGED


# Directories that cannot be used


def test_a_missing_gridmapdir_is_named(site, users):
    shutil.rmtree(site.gridmapdir)
    with pytest.raises(ConfigurationError, match=f"gridmapdir {site.gridmapdir}: no such file") as caught:
        asked(site, person(), users)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_gridmapdir_that_others_can_write_is_refused(site, users, mode):
    site.gridmapdir.chmod(mode)
    before = state(site)
    with pytest.raises(ConfigurationError, match="written by others"):
        asked(site, person(), users)
    assert state(site) == before


@pytest.mark.parametrize("name", ["holders", "ledger"])
def test_nobody_is_leased_anything_that_could_not_be_recorded_or_published(site, users, name):
    (site.gridmapdir.parent / name).rmdir()
    with pytest.raises(ConfigurationError, match=f"/{name}: no such file") as caught:
        asked(site, person(), users)
    assert caught.value.hint == "gridwarden config install makes it"
    assert not any(holders_of_accounts(site).values())


@pytest.mark.parametrize("name", ["", "names", "leases"])
def test_what_others_could_have_written_about_leases_decides_nothing(site, users, name):
    asked(site, person(), users)
    (site.gridmapdir / ".gridwarden" / name).chmod(0o777)
    with pytest.raises(ConfigurationError, match=rf"^gridmapdir .*/\.gridwarden.*{name}: can be written by others"):
        asked(site, person(), users)


@needs_root
def test_a_read_only_gridmapdir_is_named_and_nothing_changes(site, users):
    def work():
        subprocess.run(["mount", "--bind", site.gridmapdir, site.gridmapdir], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", site.gridmapdir], check=True)
        with pytest.raises(Unavailable, match=rf"^gridmapdir {site.gridmapdir}: cannot .*: Read-only file system$"):
            asked(site, person(), users)

    before = state(site)
    in_private_mounts(work)
    assert state(site) == before


@needs_root
def test_a_ledger_on_a_full_disk_leases_nothing_and_the_next_time_works(site, users):
    def work():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", site.ledger], check=True)
        filler = site.ledger / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}"], check=False, stderr=subprocess.DEVNULL)
        before = state(site)
        with pytest.raises(EvidenceError, match="the disk is full"):
            asked(site, person(), users)
        assert state(site) == before
        filler.unlink()
        assert asked(site, person(), users).created

    in_private_mounts(work)


def test_a_lease_that_cannot_be_recorded_is_not_handed_out_until_it_can(site, users):
    (site.ledger / "current.jsonl").mkdir()
    with pytest.raises(EvidenceError):
        asked(site, person(), users)
    assert os.listdir(site.holders) == []
    (site.ledger / "current.jsonl").rmdir()
    found = asked(site, person(), users)
    assert [record["lease"] for record in bodies(site, "lease")] == [found.lease_id]
    assert sum(map(len, holders_of_accounts(site).values())) == 1


# Dry run


@pytest.mark.parametrize("held", [False, True])
def test_a_dry_run_says_what_would_be_and_changes_nothing(site, users, held):
    if held:
        expected = asked(site, person(), users).account
    before = state(site)
    said = []
    account = foresee_identity(person(), site, said.append, users)
    assert state(site) == before
    assert account == (expected if held else "")
    assert ("is held under" if held else "3 accounts, 0 taken") in said[-1]


def test_a_dry_run_refuses_whom_the_mapping_would_refuse(site, users):
    for name in ("Anna", "Bela", "Chen"):
        asked(site, person(name), users)
    with pytest.raises(Refused, match="3 accounts, 3 taken"):
        foresee_identity(person("Dora"), site, silent, users)
    with pytest.raises(Refused, match="would have the lease name"):
        foresee_identity(person("ANNA"), site, silent, users)


def test_every_refusal_is_a_record(site):
    error = Refused(reasons.POLICY_NO_MATCH, "nothing matches")
    mapping.note_failure(error, person(), site, "map")
    (record,) = bodies(site, "refused")
    assert (record["reason"], record["subject"], record["command"]) == (error.reason, person().subject, "map")


# Crowds and kills


def crowd(site, users, share, processes=8):
    """Map the people of `share(process)` in as many processes at once; any refusal fails."""
    ready, start = os.pipe()
    children = []
    for process in range(processes):
        child = os.fork()
        if not child:
            os.close(start)
            os.read(ready, 1)  # until the parent closes its end: all begin together
            try:
                for name in share(process):
                    asked(site, person(name), users)
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    os.close(start)
    os.close(ready)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * processes


def test_nobody_is_refused_and_nobody_shares_when_many_fill_a_pool_at_once(site):
    users = make_accounts(site, *(f"cms{number:03}" for number in range(400)))
    crowd(site, users, lambda process: [f"P{process} {number}" for number in range(50)])

    assert [len(names) for names in holders_of_accounts(site).values()] == [1] * 400
    records = bodies(site, "lease")
    assert len({record["account"] for record in records}) == len({record["subject"] for record in records}) == 400
    for record in records:
        assert holders.read(site.holders, str(record["account"])).subject == record["subject"]


def test_nobody_shares_when_all_try_the_accounts_in_the_same_order(site, monkeypatch):
    monkeypatch.setattr("random.shuffle", list.sort)
    users = make_accounts(site, *(f"cms{number:03}" for number in range(80)))
    crowd(site, users, lambda process: [f"P{process} {number}" for number in range(10)])
    assert [len(names) for names in holders_of_accounts(site).values()] == [1] * 80


def test_a_person_who_asks_everywhere_at_once_gets_one_lease(site):
    users = make_accounts(site, *(f"cms{number:03}" for number in range(60)))
    crowd(site, users, lambda _: [f"P {number}" for number in range(20)])

    assert sum(map(len, holders_of_accounts(site).values())) == 20
    assert len(bodies(site, "lease")) == 20


def killed_at(event_number, work):
    """Run `work` in a process that is killed at its nth open, link, rename, removal, touch or mkdir; 0 if it ended."""

    def doomed():
        left = event_number

        def count(event, _):
            nonlocal left
            if event in ("open", "os.link", "os.rename", "os.remove", "os.utime", "os.mkdir", "fcntl.flock"):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), 9)

        sys.addaudithook(count)
        work()

    return in_child(doomed)


def test_a_kill_anywhere_leaves_nobody_in_another_persons_account(tmp_path):
    for step in range(1000):
        site = make_site(tmp_path / str(step))
        users = make_accounts(site, "cms001", "cms002", "cms003")
        outcome = killed_at(step, lambda: asked(site, person("Anna"), users))  # noqa: B023 - runs in this turn

        bela = asked(site, person("Bela"), users)
        anna = asked(site, person("Anna"), users)
        assert anna.account != bela.account
        assert asked(site, person("Anna"), users) == anna._replace(created=False, adopted=False, record=None)
        assert sum(map(len, holders_of_accounts(site).values())) == 2
        assert {record["lease"] for record in bodies(site, "lease")} == {anna.lease_id, bela.lease_id}
        assert holders.read(site.holders, anna.account).lease == anna.lease_id
        if outcome == 0:
            break
        assert outcome == -9
    assert step > 20, "a mapping has more steps than were tried"


def test_a_kill_while_a_lease_is_followed_leaves_it_as_it_was(site, users):
    lcmaps_links(site, "cms002", person("Anna"))
    for step in range(1000):
        if killed_at(step, lambda: asked(site, person("Anna"), users)) == 0:
            break
        assert asked(site, person("Bela"), users).account != "cms002"
    assert asked(site, person("Anna"), users).account == "cms002"
    assert len({record["lease"] for record in bodies(site, "lease")}) == 2


def test_what_the_module_says_of_its_steps_is_how_they_are_ordered(site, users):
    """A holder file never stands without its record, a record never without its link."""
    seen = []

    def look(event, arguments):
        if event == "os.rename" and arguments[1] in users.uids:  # a holder file, published
            seen.append(("holder", len(bodies(site, "lease"))))
        if event == "os.link" and arguments[0] in users.uids:
            seen.append(("link", len(os.listdir(site.ledger))))

    def work():
        sys.addaudithook(look)
        asked(site, person(), users)
        assert seen == [("link", 0), ("holder", 1)]

    assert in_child(work) == 0


def test_no_other_modules_than_those_of_the_gridmapdir_change_it():
    acting = ("os.link", "os.unlink", "os.rename", "os.replace", "os.utime", "os.remove")
    package = Path(lease.__file__).parent
    found = {path.name for path in package.glob("*.py") if any(f"{call}(" in path.read_text() for call in acting)}
    assert found == {"gridmapdir.py", "own_files.py"}


def test_a_path_of_any_length_keeps_no_refusal_out_of_the_ledger(site):
    refused = Refused(reasons.CREDENTIAL_UNREADABLE, "/" + "\\xff" * 120_000 + ": file name too long")
    mapping.note_failure(refused, None, site, "exec of pilotcms")
    (record,) = bodies(site, "refused")
    assert record["detail"].startswith("/\\xff\\xff")


def test_nobody_holds_up_the_mapping_of_a_lease_of_lcmaps_by_locking_what_everybody_may_read(site, users):
    """Any user can, for as long as they like: flock(2) asks for no more than a file that is open for reading."""
    anna = person("Anna")
    lcmaps_links(site, "cms002", anna)
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        for name in (".", "cms001", "cms002", "cms003"):  # not .gridwarden, which nobody else can enter
            fcntl.flock(os.open(site.gridmapdir / name, os.O_RDONLY), fcntl.LOCK_EX)
        os.write(tell, b".")
        time.sleep(30)
        os._exit(0)
    os.read(told, 1)
    account = asked(site, anna, users).account
    ended, _ = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    os.close(told)
    os.close(tell)
    assert (account, ended) == ("cms002", 0), "it waited"
