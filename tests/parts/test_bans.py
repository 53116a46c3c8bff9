from __future__ import annotations

import os
import subprocess

import pytest

from gridwarden import holders, reasons, register
from gridwarden.errors import BadQuestion, ConfigurationError, EvidenceError, Refused, Unavailable
from gridwarden.mapper import ban_changes, bans
from gridwarden.mapper.mapping import map_identity
from tests.gridmap import asked, bodies, holders_of_accounts, make_accounts, person, state
from tests.parts.test_lease import in_private_mounts, needs_root

ANNA = "/DC=org/DC=example/CN=Anna"


def verdicts(site):
    return {holder.subject: holder.verdict for holder in holders.everyone(site.holders)}


def write(site, text):
    site.bans[0].write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize("line", [f'"{ANNA}"', ANNA, '"*/CN=An*"', '"/cms/Role=pilot"', "/cms*"])
def test_who_is_banned_by_name_or_by_any_fqan_is_not_mapped(site, users, line):
    write(site, f"# bans\n{line}\n")
    before = state(site)
    with pytest.raises(Refused, match="bans:2") as caught:
        asked(site, person("Anna", ("/cms", "/cms/Role=pilot")), users)
    assert caught.value.reason == reasons.BANNED
    assert state(site) == before


def test_a_ban_written_by_hand_holds_at_the_next_mapping_and_a_removed_one_no_longer(site, users):
    held = asked(site, person("Anna"), users)
    write(site, f'"{ANNA}"\n')
    with pytest.raises(Refused):
        asked(site, person("Anna"), users)
    write(site, "")
    assert asked(site, person("Anna"), users).lease_id == held.lease_id


def test_every_ban_file_of_the_site_counts(site, users, tmp_path):
    (tmp_path / "more").write_text(f'"{ANNA}"\n')
    site = site._replace(bans=(*site.bans, tmp_path / "more"))
    with pytest.raises(Refused, match="more:1"):
        asked(site, person("Anna"), users)


@pytest.mark.parametrize("spoil", ["missing", "directory", "link", "writable", "unreadable line", "not quoted"])
def test_nobody_is_mapped_while_a_ban_file_cannot_be_relied_on(site, users, spoil, tmp_path):
    path = site.bans[0]
    if spoil == "missing":
        path.unlink()
    elif spoil == "directory":
        path.unlink()
        path.mkdir()
    elif spoil == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif spoil == "writable":
        path.chmod(0o666)
    elif spoil == "unreadable line":
        write(site, '"/CN=Eve\n')
    else:
        write(site, "/DC=org/CN=Eve Example\n")
    with pytest.raises(ConfigurationError, match=str(path)) as caught:
        asked(site, person("Anna"), users)
    assert "everybody is refused" in f"{caught.value} {caught.value.hint}"
    assert not any(holders_of_accounts(site).values())


@pytest.mark.parametrize("moment", ["lent under", "held under"])
def test_a_ban_that_comes_while_a_lease_is_handed_out_still_stops_it(site, users, moment):
    if moment == "held under":
        asked(site, person("Anna"), users)

    def ban(sentence):
        if moment in sentence:
            ban_changes.add(ANNA, "stolen key", site, dry_run=False)

    with pytest.raises(Refused) as caught:
        map_identity(person("Anna"), site, ban, users)
    assert caught.value.reason == reasons.BANNED
    assert verdicts(site) == {ANNA: "banned"}


def test_a_ban_reaches_the_hooks_of_those_it_matches_and_nobody_else(site, users):
    anna, bela = asked(site, person("Anna"), users), asked(site, person("Bela"), users)
    entry = {"batch": "slurm", "cluster": "site", "node": "n1", "restart": 0, "start": 1, "boot": "b"}
    job = register.Entry(**entry, job="7", account=anna.account, uid=anna.uid, lease=anna.lease_id)
    register.enter(site.register, job)

    change = ban_changes.add(ANNA, "stolen key", site, dry_run=False)

    assert [(marked.holder.account, marked.jobs) for marked in change.marked] == [(anna.account, 1)]
    assert verdicts(site) == {ANNA: "banned", person("Bela").subject: "ok"}
    assert holders.read(site.holders, anna.account).because == f"{ANNA} matches {ANNA}"
    assert asked(site, person("Bela"), users).account == bela.account
    (record,) = bodies(site, "ban")
    assert (record["action"], record["pattern"], record["because"]) == ("add", ANNA, "stolen key")


def test_after_a_ban_is_removed_the_person_runs_again_under_the_same_lease(site, users):
    held = asked(site, person("Anna"), users)
    before = site.bans[0].read_bytes()
    ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    ban_changes.remove(ANNA, site, dry_run=False)
    assert site.bans[0].read_bytes() == before
    assert verdicts(site) == {ANNA: "ok"}
    assert asked(site, person("Anna"), users).lease_id == held.lease_id
    assert [record["action"] for record in bodies(site, "ban")] == ["add", "remove"]


def test_who_is_banned_twice_stays_banned_when_one_ban_is_removed(site, users):
    asked(site, person("Anna"), users)
    ban_changes.add(ANNA, "one", site, dry_run=False)
    ban_changes.add("*/CN=Anna", "two", site, dry_run=False)
    assert ban_changes.remove(ANNA, site, dry_run=False).marked == []
    assert verdicts(site) == {ANNA: "banned"}


def test_a_ban_leaves_what_the_site_wrote_as_it_was(site):
    write(site, '# the site\'s own\n"/CN=Eve" # since 2019\n/CN=Mallory')
    os.chmod(site.bans[0], 0o640)
    ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    text = site.bans[0].read_text()
    assert text.startswith('# the site\'s own\n"/CN=Eve" # since 2019\n/CN=Mallory\n# because: stolen key (')
    assert text.endswith(f'\n"{ANNA}"\n')
    assert os.stat(site.bans[0]).st_mode & 0o777 == 0o640


def test_a_dry_run_of_a_ban_changes_nothing_and_says_whom_it_would_hit(site, users):
    held = asked(site, person("Anna"), users)
    before = state(site)
    change = ban_changes.add(ANNA, "stolen key", site, dry_run=True)
    assert [marked.holder.account for marked in change.marked] == [held.account]
    assert state(site) == before
    ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    before = state(site)
    change = ban_changes.remove(ANNA, site, dry_run=True)
    assert [marked.holder.account for marked in change.marked] == [held.account]
    assert state(site) == before


def test_a_ban_that_stands_already_is_one_line_and_still_reaches_the_hooks(site, users):
    asked(site, person("Anna"), users)
    write(site, f'"{ANNA}"\n')
    change = ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    assert not change.changed
    assert site.bans[0].read_text() == f'"{ANNA}"\n'
    assert verdicts(site) == {ANNA: "banned"}


@pytest.mark.parametrize("pattern", ["", "Anna", '/CN="x"', "/CN=x\n/CN=y", "/CN=x\r", "/CN=x\\", "/CN=[^a]", "cms001"])
def test_a_pattern_that_would_ban_nobody_or_somebody_else_is_refused(site, pattern):
    before = state(site)
    with pytest.raises(BadQuestion):
        ban_changes.add(pattern, "why", site, dry_run=False)
    assert state(site) == before


@pytest.mark.parametrize("because", ["", "  ", "two\nlines", "\x1b[2J"])
def test_a_ban_needs_a_reason_that_others_can_read(site, because):
    with pytest.raises(BadQuestion, match="--because"):
        ban_changes.add(ANNA, because, site, dry_run=False)


def test_a_ban_of_another_file_is_not_removed_but_found(site, tmp_path):
    (tmp_path / "more").write_text(f'\n"{ANNA}"\n')
    site = site._replace(bans=(*site.bans, tmp_path / "more"))
    with pytest.raises(BadQuestion) as caught:
        ban_changes.remove(ANNA, site, dry_run=False)
    assert "more:2" in caught.value.hint


def test_a_ban_holds_even_when_it_cannot_be_recorded(site, users):
    asked(site, person("Anna"), users)
    (site.ledger / "current.jsonl").rename(site.ledger / "aside")
    (site.ledger / "current.jsonl").mkdir()
    with pytest.raises(EvidenceError):
        ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    assert verdicts(site) == {ANNA: "banned"}
    with pytest.raises(Refused):
        asked(site, person("Anna"), users)


def test_one_spoilt_holder_file_does_not_shield_the_others(site, users):
    held = asked(site, person("Anna"), users)
    (site.holders / "cms999").write_text("nonsense")
    change = ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    assert [marked.holder.account for marked in change.marked] == [held.account]
    assert change.unreadable == ["cms999"]


def test_a_spoilt_register_entry_does_not_shield_anybody(site, users):
    people = [asked(site, person(name), users) for name in ("Anna", "Bela", "Chen")]
    (site.register / people[0].account).mkdir()
    (site.register / people[0].account / "slurm.site.n1.7").write_text("nonsense")
    change = ban_changes.add("/DC=org/*", "incident", site, dry_run=False)
    assert {marked.holder.account: marked.jobs for marked in change.marked}[people[0].account] == 1
    assert set(verdicts(site).values()) == {"banned"}
    assert len(bodies(site, "ban")) == 1


@needs_root
def test_one_holder_file_that_cannot_be_written_does_not_shield_the_others(site, users):
    for name in ("Anna", "Bela", "Chen"):
        asked(site, person(name), users)
    stuck = site.holders / "cms001"

    def work():
        subprocess.run(["mount", "--bind", stuck, stuck], check=True)
        with pytest.raises(Unavailable, match=f"^{stuck}: cannot be written: "):
            ban_changes.add("/DC=org/*", "incident", site, dry_run=False)

    in_private_mounts(work)
    assert sorted(verdicts(site).values()) == ["banned", "banned", "ok"]
    assert len(bodies(site, "ban")) == 1
    ban_changes.add("/DC=org/*", "incident", site, dry_run=False)
    assert set(verdicts(site).values()) == {"banned"}


def test_the_list_says_why_and_whom(site, users):
    held = asked(site, person("Anna"), users)
    write(site, '"/CN=Eve"\n')
    ban_changes.add(ANNA, "stolen key", site, dry_run=False)
    eve, anna = ban_changes.listing(site)
    assert (eve["pattern"], eve["because"], eve["accounts"], eve["line"]) == ("/CN=Eve", None, "", 1)
    assert (anna["pattern"], anna["accounts"], anna["line"]) == (ANNA, held.account, 3)
    assert str(anna["because"]).startswith("stolen key (")


def test_administrators_who_ban_at_once_do_not_undo_each_other(site):
    users = make_accounts(site, *(f"cms{number:03}" for number in range(8)))
    people = [person(f"Eve {number}") for number in range(8)]
    for identity in people:
        asked(site, identity, users)
    children = []
    for identity in people:
        child = os.fork()
        if not child:
            try:
                ban_changes.add(identity.subject, "incident", site, dry_run=False)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(ban.pattern for ban in bans.read(site.bans)) == sorted(identity.subject for identity in people)
    assert set(verdicts(site).values()) == {"banned"}
