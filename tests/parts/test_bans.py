from __future__ import annotations

import os
import subprocess

import pytest

from gridwarden import chain, holders, reasons, register
from gridwarden.errors import BadQuestion, ConfigurationError, EvidenceError, GridwardenError, Refused, Unavailable
from gridwarden.mapper import ban_changes, ban_check, ban_history, bans
from gridwarden.mapper.mapping import map_identity
from gridwarden.mapper.rules import Rule
from tests.gridmap import asked, bodies, holders_of_accounts, make_accounts, person, state
from tests.parts.test_lease import in_private_mounts, needs_root

ANNA = "/DC=org/DC=example/CN=Anna"


def add(pattern, because, site, *, dry_run=False):
    return ban_changes.add({"pattern": pattern}, because, site, dry_run=dry_run)


def remove(pattern, site, *, dry_run=False):
    return ban_changes.remove({"pattern": pattern}, site, dry_run=dry_run)


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


@pytest.mark.parametrize("written", ["E", "Email", "emailAddress"])
def test_a_ban_from_a_list_of_old_bans_whom_it_names(listed, users, written):
    mallory = person("Mallory")
    mallory = mallory._replace(
        subject=f"{mallory.subject}/emailAddress=m@example.org/UID=mal", credential="1/DC=org/UID=ca"
    )
    name = f"/DC=org/DC=example/CN=Mallory/{written}=m@example.org/USERID=mal"
    for whom in ({"pattern": name}, {"pattern": f"{name[:-3]}*"}, {"subject": name}, {"issuer": "/DC=org/USERID=ca"}):
        ban(listed, **whom)
        with pytest.raises(Refused):
            asked(listed, mallory, users)
        asked(
            listed,
            mallory._replace(subject=mallory.subject.replace("Mallory", "Trent"), credential="1/DC=org/UID=b"),
            users,
        )
        ban_changes.remove(whom, listed, dry_run=False)


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


@pytest.mark.parametrize(("moment", "hooks_see"), [("lent under", {}), ("held under", {ANNA: "banned"})])
def test_a_ban_that_comes_while_a_lease_is_handed_out_still_stops_it(site, users, moment, hooks_see):
    if moment == "held under":
        asked(site, person("Anna"), users)

    def ban(sentence):
        if moment in sentence:
            add(ANNA, "stolen key", site)

    with pytest.raises(Refused) as caught:
        map_identity(person("Anna"), site, ban, users)
    assert caught.value.reason == reasons.BANNED
    assert verdicts(site) == hooks_see


def test_a_ban_reaches_the_hooks_of_those_it_matches_and_nobody_else(site, users):
    anna, bela = asked(site, person("Anna"), users), asked(site, person("Bela"), users)
    entry = {"batch": "slurm", "cluster": "site", "node": "n1", "restart": 0, "start": 1, "boot": "b"}
    job = register.Entry(**entry, job="7", account=anna.account, uid=anna.uid, lease=anna.lease_id)
    register.enter(site.register, job)

    change = add(ANNA, "stolen key", site)

    assert [(marked.holder.account, marked.jobs) for marked in change.marked] == [(anna.account, 1)]
    assert verdicts(site) == {ANNA: "banned", person("Bela").subject: "ok"}
    assert holders.read(site.holders, anna.account).because == f"{ANNA} matches {ANNA}"
    assert asked(site, person("Bela"), users).account == bela.account
    (record,) = bodies(site, "ban")
    assert (record["action"], record["pattern"], record["because"]) == ("add", ANNA, "stolen key")


def test_after_a_ban_is_removed_the_person_runs_again_under_the_same_lease(site, users):
    held = asked(site, person("Anna"), users)
    before = site.bans[0].read_bytes()
    add(ANNA, "stolen key", site)
    remove(ANNA, site)
    assert site.bans[0].read_bytes() == before
    assert verdicts(site) == {ANNA: "ok"}
    assert asked(site, person("Anna"), users).lease_id == held.lease_id
    assert [record["action"] for record in bodies(site, "ban")] == ["add", "remove"]


def test_who_is_banned_twice_stays_banned_when_one_ban_is_removed(site, users):
    asked(site, person("Anna"), users)
    add(ANNA, "one", site)
    add("*/CN=Anna", "two", site)
    assert remove(ANNA, site).marked == []
    assert verdicts(site) == {ANNA: "banned"}


def test_a_ban_leaves_what_the_site_wrote_as_it_was(site):
    write(site, '# the site\'s own\n"/CN=Eve" # since 2019\n/CN=Mallory')
    os.chmod(site.bans[0], 0o640)
    add(ANNA, "stolen key", site)
    text = site.bans[0].read_text()
    assert text.startswith('# the site\'s own\n"/CN=Eve" # since 2019\n/CN=Mallory\n# because: stolen key (')
    assert text.endswith(f'\n"{ANNA}"\n')
    assert os.stat(site.bans[0]).st_mode & 0o777 == 0o640


def test_a_dry_run_of_a_ban_changes_nothing_and_says_whom_it_would_hit(site, users):
    held = asked(site, person("Anna"), users)
    before = state(site)
    change = add(ANNA, "stolen key", site, dry_run=True)
    assert [marked.holder.account for marked in change.marked] == [held.account]
    assert state(site) == before
    add(ANNA, "stolen key", site)
    before = state(site)
    change = remove(ANNA, site, dry_run=True)
    assert [marked.holder.account for marked in change.marked] == [held.account]
    assert state(site) == before


def test_a_ban_that_stands_already_is_one_line_and_still_reaches_the_hooks(site, users):
    asked(site, person("Anna"), users)
    write(site, f'"{ANNA}"\n')
    change = add(ANNA, "stolen key", site)
    assert not change.changed
    assert site.bans[0].read_text() == f'"{ANNA}"\n'
    assert verdicts(site) == {ANNA: "banned"}


@pytest.mark.parametrize("pattern", ["", "Anna", '/CN="x"', "/CN=x\n/CN=y", "/CN=x\r", "/CN=x\\", "/CN=[^a]", "cms001"])
def test_a_pattern_that_would_ban_nobody_or_somebody_else_is_refused(site, pattern):
    before = state(site)
    with pytest.raises(BadQuestion):
        add(pattern, "why", site)
    assert state(site) == before


@pytest.mark.parametrize("because", ["", "  ", "two\nlines", "\x1b[2J"])
def test_a_ban_needs_a_reason_that_others_can_read(site, because):
    with pytest.raises(BadQuestion, match="--because"):
        add(ANNA, because, site)


def test_a_ban_of_another_file_is_not_removed_but_found(site, tmp_path):
    (tmp_path / "more").write_text(f'\n"{ANNA}"\n')
    site = site._replace(bans=(*site.bans, tmp_path / "more"))
    with pytest.raises(BadQuestion) as caught:
        remove(ANNA, site)
    assert "more:2" in caught.value.hint


def test_a_ban_holds_even_when_it_cannot_be_recorded(site, users):
    asked(site, person("Anna"), users)
    (site.ledger / "current.jsonl").rename(site.ledger / "aside")
    (site.ledger / "current.jsonl").mkdir()
    with pytest.raises(EvidenceError):
        add(ANNA, "stolen key", site)
    assert verdicts(site) == {ANNA: "banned"}
    with pytest.raises(Refused):
        asked(site, person("Anna"), users)


def test_one_spoilt_holder_file_does_not_shield_the_others(site, users):
    held = asked(site, person("Anna"), users)
    (site.holders / "cms999").write_text("nonsense")
    change = add(ANNA, "stolen key", site)
    assert [marked.holder.account for marked in change.marked] == [held.account]
    assert change.unreadable == ["cms999"]


def test_a_spoilt_register_entry_does_not_shield_anybody(site, users):
    people = [asked(site, person(name), users) for name in ("Anna", "Bela", "Chen")]
    (site.register / people[0].account).mkdir()
    (site.register / people[0].account / "slurm.site.n1.7").write_text("nonsense")
    change = add("/DC=org/*", "incident", site)
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
            add("/DC=org/*", "incident", site)

    in_private_mounts(work)
    assert sorted(verdicts(site).values()) == ["banned", "banned", "ok"]
    assert len(bodies(site, "ban")) == 1
    add("/DC=org/*", "incident", site)
    assert set(verdicts(site).values()) == {"banned"}


def test_the_list_says_why_and_whom(site, users):
    held = asked(site, person("Anna"), users)
    write(site, '"/CN=Eve"\n')
    add(ANNA, "stolen key", site)
    eve, anna = ban_changes.listing(site)
    assert (eve["pattern"], eve["because"], eve["accounts"], eve["line"]) == ("/CN=Eve", None, "", 1)
    assert (anna["pattern"], anna["accounts"], anna["line"]) == (ANNA, held.account, 3)
    assert (anna["because"], anna["state"]) == ("stolen key", "in force")
    assert anna["author"] and str(anna["from"]).endswith("Z")


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
                add(identity.subject, "incident", site)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(ban.pattern for ban in bans.read(site.bans)) == sorted(identity.subject for identity in people)
    assert set(verdicts(site).values()) == {"banned"}


# What LCMAPS has no words for: the ban list


IAM = "https://iam.example.org/"


@pytest.fixture
def listed(site, tmp_path):
    (tmp_path / "ban-list").touch(mode=0o644)
    return site._replace(ban_lists=(tmp_path / "ban-list",))


def ban(site, *, start="", end="", dry_run=False, **whom):
    return ban_changes.add(whom, "incident 17", site, start=start, end=end, dry_run=dry_run)


def write_list(site, *lines):
    site.ban_lists[0].write_text("".join(f"{line}\n" for line in lines))


def test_each_kind_of_ban_stops_its_person_at_the_next_mapping_and_marks_the_lease(listed, users):
    anna, bela = person("Anna"), person("Bela", ("/atlas",))
    anna = anna._replace(credential="2a/DC=org/CN=CA one")
    held = asked(listed, anna, users)
    for whom in (
        {"pattern": "/cms"},
        {"vo": "cms"},
        {"issuer": "/DC=org/CN=CA one"},
        {"subject": ANNA},
        {"serial": "2A", "issuer": "/DC=org/CN=CA one"},
        {"account": held.account},
    ):
        change = ban(listed, **whom, end="9000-01-01T00:00:00Z")
        assert [marked.holder.account for marked in change.marked] == [held.account], whom
        with pytest.raises(Refused, match="ban-list:1") as caught:
            asked(listed, anna, users)
        assert caught.value.reason == reasons.BANNED
        assert verdicts(listed) == {ANNA: "banned"}
        ban_changes.remove(whom, listed, dry_run=False)
        assert asked(listed, anna, users).lease_id == held.lease_id
    assert listed.bans[0].read_bytes() == listed.ban_lists[0].read_bytes() == b""
    assert bela.subject not in verdicts(listed)


@pytest.mark.parametrize("credential", ["0/CN=CA", "00/CN=CA"])
def test_a_certificate_with_the_serial_number_0_can_be_banned_and_no_other_is(listed, users, credential):
    ban(listed, serial="00")
    with pytest.raises(Refused):
        asked(listed, person("Anna")._replace(credential=credential), users)
    for other in ("01/CN=CA", "/CN=CA", ""):
        asked(listed, person("Anna")._replace(credential=other), users)


def test_a_token_that_is_banned_by_its_id_stops_whoever_was_mapped_with_it(listed, users):
    token = person("Anna")._replace(scheme="token", subject=f"{IAM},4f2c", issuer=IAM, fqans=(), credential="jti=9b1d")
    listed = listed._replace(rules=(Rule(issuer=IAM, pool="cms"),))
    asked(listed, token, users)
    ban(listed, jti="9b1d")
    assert verdicts(listed) == {token.subject: "banned"}
    with pytest.raises(Refused):
        asked(listed, token, users)
    # Another token of the same person is another credential.
    asked(listed, token._replace(credential="jti=0000"), users)
    assert verdicts(listed) == {token.subject: "ok"}


@pytest.mark.parametrize(
    ("first", "last", "whom"),
    [
        ('jti=9\u00e4"1d', "jti=0000", {"jti": '9\u00e4"1d'}),
        ("jti=9b1d", "jti=0000", {"jti": "9b1d", "issuer": IAM}),
        ("0A1B/CN=CA", "02/CN=CA", {"serial": "a1b"}),
    ],
)
def test_a_ban_of_a_credential_stops_whoever_has_the_lease_that_it_was_mapped_to(listed, users, first, last, whom):
    """Jobs that came with it may wait under the lease, whatever else has been mapped to it since."""
    if "jti" in whom:
        anna = person("Anna")._replace(scheme="token", subject=f"{IAM},4f2c", issuer=IAM, fqans=(), credential=first)
        bela = anna._replace(subject=f"{IAM},77", credential="jti=77")
        listed = listed._replace(rules=(Rule(issuer=IAM, pool="cms"),))
    else:
        anna, bela = person("Anna")._replace(credential=first.lower()), person("Bela")._replace(credential="77/CN=CA")
    for identity in (anna, bela, anna._replace(credential=last)):
        asked(listed, identity, users)
    marked = ban(listed, **whom).marked
    assert [one.holder.subject for one in marked] == [anna.subject]
    assert verdicts(listed) == {anna.subject: "banned", bela.subject: "ok"}
    assert not ban_changes.refresh(listed, dry_run=False).marked  # it stays
    asked(listed, anna._replace(credential=last), users)
    assert verdicts(listed)[anna.subject] == "ok"
    assert not ban_changes.refresh(listed, dry_run=False).marked
    assert ban(listed, **whom).marked  # asked for again
    ban_changes.remove(whom, listed, dry_run=False)
    assert verdicts(listed)[anna.subject] == "ok"


def test_many_bans_of_credentials_hold_no_other_ban_up(listed, users, monkeypatch):
    """Each reading of a busy machine's ledger takes seconds, in which nobody else can ban."""
    readings = []
    read = chain.bodies_with
    monkeypatch.setattr(chain, "bodies_with", lambda *given: readings.append(given) or read(*given))
    token = person("Anna")._replace(scheme="token", subject=f"{IAM},4f2c", issuer=IAM, fqans=(), credential="jti=9b1d")
    listed = listed._replace(rules=(Rule(issuer=IAM, pool="cms"),))
    for credential in ("jti=9b1d", "jti=0000"):
        asked(listed, token._replace(credential=credential), users)
    ban(listed, jti="9b1d")
    with listed.ban_lists[0].open("a") as file:
        file.writelines(f"jti=leaked{number}\n" for number in range(100))
    readings.clear()
    assert not ban(listed, issuer="https://other.example.org/").marked
    assert verdicts(listed)[token.subject] == "banned"
    assert len(readings) == 1


def test_a_lease_that_ends_while_a_ban_is_made_is_not_published_again(listed, users, monkeypatch):
    """Its account would be kept from everybody, as one that somebody still has."""
    token = person("Anna")._replace(scheme="token", subject=f"{IAM},4f2c", issuer=IAM, fqans=(), credential="jti=9b1d")
    listed = listed._replace(rules=(Rule(issuer=IAM, pool="cms"),))
    asked(listed, token, users)
    asked(listed, token._replace(credential="jti=0000"), users)
    look_up = ban_history.accounts_met

    def released_meanwhile(*given):
        for account in os.listdir(listed.holders):
            (listed.holders / account).unlink()
        return look_up(*given)

    monkeypatch.setattr(ban_history, "accounts_met", released_meanwhile)
    assert not ban(listed, jti="9b1d").marked
    assert not os.listdir(listed.holders)


def test_a_token_that_a_shared_account_was_mapped_to_stops_nobody_else(listed):
    users = make_accounts(listed, "cms001", "cmsprod")
    token = person("Anna")._replace(scheme="token", subject=f"{IAM},4f2c", issuer=IAM, fqans=(), credential="jti=9b1d")
    fixed = listed._replace(rules=(Rule(issuer=IAM, account="cmsprod"),))
    asked(fixed, token, users)
    asked(fixed, token._replace(credential="jti=1"), users)
    pooled = listed._replace(rules=(Rule(issuer=IAM, pool="cms"),))
    asked(pooled, token._replace(credential="jti=1"), users)
    assert not ban(listed, jti="9b1d").marked


def test_a_ledger_that_cannot_be_read_keeps_no_ban_from_who_is_known_to_meet_it(listed, users):
    token = person("Anna")._replace(scheme="token", subject=f"{IAM},4f2c", issuer=IAM, fqans=(), credential="jti=9b1d")
    listed = listed._replace(rules=(Rule(issuer=IAM, pool="cms"),))
    asked(listed, token, users)
    asked(listed, token._replace(subject=f"{IAM},77", credential="jti=1"), users)
    listed.ledger.chmod(0o777)
    with pytest.raises(GridwardenError):
        ban(listed, jti="9b1d")
    assert verdicts(listed)[token.subject] == "banned"


@pytest.mark.parametrize("whom", [{"issuer": "a.org"}, {"subject": "anna@a.org"}, {"subject": "6f3-uuid"}])
def test_a_globus_identity_that_is_banned_by_provider_or_name_loses_the_lease_it_has(listed, users, whom):
    anna = person("Anna")._replace(
        scheme="globus", subject="6f3-uuid", credential="", username="anna@a.org", identity_provider="a.org"
    )
    listed = listed._replace(rules=(Rule(identity_provider="a.org", pool="cms"),))
    account = asked(listed, anna, users).account
    assert [marked.holder.account for marked in ban(listed, **whom).marked] == [account]
    with pytest.raises(Refused):
        asked(listed, anna, users)


def test_only_what_lcmaps_can_obey_is_written_where_lcmaps_reads(listed):
    ban(listed, pattern=ANNA)
    ban(listed, pattern="/CN=Bela", end="9000-01-01T00:00:00Z")
    ban(listed, pattern="/CN=Chen", vo="cms")
    lines = [line for line in listed.bans[0].read_text().splitlines() if not line.startswith("#")]
    assert lines == [f'"{ANNA}"']
    assert [found.pattern for found in bans.read_lists(listed.ban_lists)] == ["/CN=Bela", "pattern=/CN=Chen vo=cms"]


def test_a_ban_ends_and_begins_by_itself_at_the_next_mapping(listed, users):
    held = asked(listed, person("Anna"), users)
    past, future = "2020-01-01T00:00:00Z", "9000-01-01T00:00:00Z"
    write_list(listed, f"subject={ANNA}\tend={past}")
    ban(listed, vo="cms", start=future)
    assert asked(listed, person("Anna"), users).lease_id == held.lease_id
    assert [row["state"] for row in ban_changes.listing(listed)] == ["expired", "not yet"]
    listed.ban_lists[0].write_text(f"subject={ANNA}\tend={future}\n")
    with pytest.raises(Refused):
        asked(listed, person("Anna"), users)
    listed.ban_lists[0].write_text(f"subject={ANNA}\tend={past}\n")
    assert asked(listed, person("Anna"), users).lease_id == held.lease_id


@pytest.mark.parametrize("whom", [{"pattern": ANNA}, {"vo": "cms"}])
def test_a_ban_holds_at_once_where_the_clock_is_behind_that_of_who_made_it(listed, users, whom):
    ban(listed, **whom)
    for path in (*listed.bans, *listed.ban_lists):
        path.write_text(path.read_text().replace("20", "90", 1))
    with pytest.raises(Refused):
        asked(listed, person("Anna"), users)


def test_holders_learn_that_a_ban_has_ended_without_being_mapped_again(listed, users):
    asked(listed, person("Anna"), users)
    ban(listed, subject=ANNA, end="9000-01-01T00:00:00Z")
    text = listed.ban_lists[0].read_text()
    listed.ban_lists[0].write_text(text.replace("end=9000", "end=9001"))
    assert ban_changes.refresh(listed, dry_run=False).marked == []
    listed.ban_lists[0].write_text(text.replace("end=9000", "end=2020"))
    assert [marked.holder.subject for marked in ban_changes.refresh(listed, dry_run=False).marked] == [ANNA]
    assert verdicts(listed) == {ANNA: "ok"}


def test_a_ban_with_another_end_takes_the_place_of_the_first(listed):
    ban(listed, vo="cms", end="9000-01-01T00:00:00Z")
    assert not ban(listed, vo="cms", end="9000-01-01T00:00:00Z").changed
    ban(listed, vo="cms", end="9001-01-01T00:00:00Z")
    assert [found.end for found in bans.read_lists(listed.ban_lists)] == ["9001-01-01T00:00:00Z"]


def test_a_ban_that_begins_earlier_takes_the_place_of_one_still_to_come(listed):
    for start in ("9001-01-01T00:00:00Z", "9000-01-01T00:00:00Z"):
        assert ban(listed, vo="cms", start=start).changed
    assert [found.start for found in bans.read_lists(listed.ban_lists)] == ["9000-01-01T00:00:00Z"]


@pytest.mark.parametrize(
    ("whom", "hint"),
    [
        ({"vo": "cms", "end": "2020-01-01T00:00:00Z"}, "ban remove"),
        ({"pattern": "/CN=Jos\N{LATIN SMALL LETTER E WITH ACUTE}*"}, r"/CN=Jos\xC3\xA9*"),
        ({"issuer": "/CN=CA \N{LATIN SMALL LETTER E WITH ACUTE}", "serial": "1a"}, r"/CN=CA \xC3\xA9"),
    ],
)
def test_nobody_is_told_that_somebody_is_banned_where_nobody_would_be(listed, whom, hint):
    with pytest.raises(BadQuestion) as caught:
        ban(listed, **whom)
    assert hint in caught.value.hint
    assert listed.bans[0].read_bytes() == listed.ban_lists[0].read_bytes() == b""


def test_a_banned_account_is_not_lent_to_the_next_who_comes(listed):
    users = make_accounts(listed, "cms001", "cms002")
    ban(listed, account="cms001")
    assert asked(listed, person("Anna"), users).account == "cms002"
    with pytest.raises(Refused, match="it is banned") as caught:
        asked(listed, person("Bela"), users)
    assert caught.value.reason == reasons.POOL_FULL


@pytest.mark.parametrize("spoil", ["missing", "writable", "unreadable line"])
def test_nobody_is_mapped_while_a_ban_list_cannot_be_relied_on(listed, users, spoil):
    path = listed.ban_lists[0]
    if spoil == "missing":
        path.unlink()
    elif spoil == "writable":
        path.chmod(0o666)
    else:
        path.write_text("vo=cms\nnonsense\n")
    with pytest.raises(ConfigurationError, match=str(path)):
        asked(listed, person("Anna"), users)


@pytest.mark.parametrize(
    "whom", [{}, {"vo": ""}, {"vo": "a\nb"}, {"serial": "xyz"}, {"pattern": "Anna", "vo": "cms"}, {"jti": "\x1b"}]
)
def test_a_ban_that_the_list_could_not_hold_is_refused(listed, whom):
    before = state(listed)
    with pytest.raises(BadQuestion):
        ban(listed, **whom)
    assert state(listed) == before and listed.ban_lists[0].read_bytes() == b""


def test_it_can_be_asked_who_would_be_banned_and_by_what(listed, users):
    held = asked(listed, person("Anna"), users)
    write_list(listed, "vo=cms\tend=2020-01-02T00:00:00Z")
    ban(listed, issuer=IAM, subject="4f2c")
    ban(listed, pattern="/cms/Role=pilot")

    def found(subject, **asked):
        return [(row["pattern"], row["state"]) for row in ban_check.matching(subject, listed, **asked)]

    assert found(ANNA) == []
    assert found("/CN=x", fqans=("/cms/Role=pilot/Capability=NULL",), vo="cms") == [
        ("/cms/Role=pilot", "in force"), ("vo=cms", "expired"),
    ]  # fmt: skip
    assert found("4f2c", issuer=IAM) == found(f"{IAM},4f2c") == [(f"issuer={IAM} subject=4f2c", "in force")]
    assert found("4f2c", issuer="https://other/") == []
    assert found("", account=held.account) == [("vo=cms", "expired")]
    for subject, asked_of in (("4f2c", {"issuer": IAM, "fqans": ("/cms",)}), (ANNA, {"fqans": ("cms",)})):
        with pytest.raises(BadQuestion):
            found(subject, **asked_of)
    with pytest.raises(BadQuestion, match="no DN in slash form"):
        found("CN=Anna,DC=example,DC=org")
    assert found("", account="cms099") == []
    ban(listed, account="cms099")
    assert found("", account="cms099") == [("account=cms099", "in force")]


def test_the_files_themselves_can_be_checked(listed):
    write(listed, '"/CN=A[bc]"\n"/CN=Eve"\n')
    write_list(listed, "vo=cms\tend=2020-01-02T00:00:00Z")
    lcmaps, own = ban_check.files(listed)
    assert (lcmaps["bans"], lcmaps["in_force"]) == (2, 2) and "line 1" in str(lcmaps["remarks"])
    assert (own["bans"], own["in_force"], own["expired"]) == (1, 0, 1)
    write(listed, '"/CN=Eve\n')
    with pytest.raises(ConfigurationError):
        ban_check.files(listed)
