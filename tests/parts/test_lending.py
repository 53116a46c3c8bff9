from __future__ import annotations

import os
import pwd
import sys

import pytest

from gridwarden import holders, reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.hooks import lease_rows
from gridwarden.mapper import accounts, candidates, lending
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.lease import Lease
from gridwarden.mapper.many import lease_many
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.pool_commands import account_rows
from gridwarden.mapper.site import LeaseValues
from tests.gridmap import Users, bodies, holders_of_accounts, lcmaps_links, make_accounts, person, put_on_hold

POOL = [f"cms{number:03}" for number in range(100)]


@pytest.fixture
def users(site):
    return make_accounts(site, *POOL)


def asked(site, name, users):
    return map_identity(person(name), site, silent, users)


@pytest.fixture
def readings(site):
    """How often the gridmapdir was read so far, since the call before."""
    counted = []
    watched = True

    def count(event, arguments):
        if watched and event == "os.scandir" and isinstance(arguments[0], int):
            counted.append(os.readlink(f"/proc/self/fd/{arguments[0]}"))

    def since():
        number = counted.count(str(site.gridmapdir))
        counted.clear()
        return number

    sys.addaudithook(count)
    yield since
    watched = False


# What is read


def test_a_look_up_reads_no_directory_and_a_new_lease_at_most_once(site, users, readings):
    for number in range(60):
        asked(site, f"P {number}", users)
        assert readings() <= 1
        asked(site, f"P {number}", users)
        assert readings() == 0


def test_the_last_account_of_a_pool_is_found_by_one_reading_at_most(site, users, readings):
    for number in range(99):
        asked(site, f"P {number}", users)
    readings()
    assert asked(site, "last", users).created
    assert readings() <= 1  # none where a throw happened to hit it


def test_a_lease_of_lcmaps_is_read_for_once(site, users, readings):
    lcmaps_links(site, "cms042", person("Anna"))
    assert asked(site, "Anna", users).account == "cms042"
    assert readings() == 1
    assert asked(site, "Anna", users).account == "cms042"
    assert readings() == 0


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"cms",
        b"root".ljust(63) + b"\n",
        b"atlas001".ljust(63) + b"\n",
        b"../../etc".ljust(63) + b"\n",
        b"\xff" * 64,
    ],
)
def test_what_is_known_of_the_accounts_is_only_a_hint(site, users, spoilt):
    asked(site, "Anna", users)
    (site.gridmapdir / ".gridwarden" / candidates.KIND / "cms").write_bytes(spoilt)
    assert asked(site, "Bela", users).account in POOL
    with Gridmapdir(site.gridmapdir) as directory:
        assert set(candidates.probable(directory, "cms")) <= set(POOL)


def test_accounts_that_come_and_go_are_noticed(site, users):
    with Gridmapdir(site.gridmapdir) as directory:
        candidates.remember(directory, "cms", [*POOL[:50], "cms999", "cms" + "0" * 80])
        assert len(set(candidates.probable(directory, "cms"))) == 51
        candidates.remember(directory, "cms", POOL)
        assert len(set(candidates.probable(directory, "cms"))) == 64
    assert len({asked(site, f"P {number}", users).account for number in range(100)}) == 100


# On hold for an incident


def test_an_account_on_hold_is_lent_to_nobody_and_nobody_learns_why(site):
    users = make_accounts(site, "cms1", "cms2")
    put_on_hold(site, "cms1")
    assert asked(site, "Anna", users).account == "cms2"
    with pytest.raises(Refused, match="on hold") as refused:
        asked(site, "Bela", users)
    assert refused.value.reason == reasons.POOL_FULL
    assert "4711" not in str(refused.value)
    (site.holds / "cms1").unlink()
    assert asked(site, "Bela", users).account == "cms1"


def test_an_account_on_hold_whose_lease_and_holder_file_are_gone_is_not_lent(site):
    users = make_accounts(site, "cms1")
    anna = asked(site, "Anna", users)
    put_on_hold(site, anna.account)
    (site.gridmapdir / anna.name).unlink()
    (site.holders / anna.account).unlink()
    with pytest.raises(Refused, match="on hold"):
        asked(site, "Bela", users)
    with pytest.raises(Refused, match="on hold"):
        asked(site, "Anna", users)


def test_who_holds_an_account_on_hold_keeps_it(site):
    users = make_accounts(site, "cms1")
    anna = asked(site, "Anna", users)
    put_on_hold(site, anna.account)
    assert asked(site, "Anna", users).lease_id == anna.lease_id


def test_whoever_looks_after_the_leases_learns_why_an_account_is_on_hold(site):
    anna = asked(site, "Anna", make_accounts(site, "cms1", "cms2"))
    put_on_hold(site, anna.account)
    seen, found = lease_rows.everything(site, ("cms",))
    (shown,) = lease_rows.detailed(anna.account, seen, found)
    assert shown["on_hold"] == "ticket 4711"
    problems = {row["account"]: str(row["problem"]) for row in account_rows("cms", seen)}
    assert {account for account, problem in problems.items() if "on hold: ticket 4711" in problem} == {anna.account}


@pytest.mark.parametrize("spoil", ["written-by-others", "not-a-directory"])
def test_when_it_cannot_be_told_who_is_on_hold_nothing_is_lent(site, spoil):
    users = make_accounts(site, "cms1")
    if spoil == "not-a-directory":
        site.holds.touch()
    else:
        site.holds.mkdir()
        site.holds.chmod(0o777)
    with pytest.raises(ConfigurationError, match="holds"):
        asked(site, "Anna", users)
    assert sum(map(len, holders_of_accounts(site).values())) == 0


# Nearly full


def test_a_pool_warns_before_it_is_full(site, users, monkeypatch):
    said = []
    monkeypatch.setattr(lending.syslog_line, "decision", lambda *words, **fields: said.append((*words, fields)))
    sentences = []
    for number in range(99):
        map_identity(person(f"P {number}"), site, sentences.append, users)
    warned = [fields["taken"] for event, outcome, fields in said if (event, outcome) == ("pool", "nearly-full")]
    assert warned
    assert min(warned) >= 90
    assert max(warned) < 100
    assert all(fields["total"] == 100 for *_, fields in said)
    assert f"pool cms is nearly full: {warned[0]} of 100 accounts are taken, {100 - warned[0]} are left" in sentences


def test_a_site_can_be_warned_earlier_or_not_before_the_end(site, monkeypatch):
    users = make_accounts(site, "cms1", "cms2", "cms3", "cms4")
    said = []
    monkeypatch.setattr(lending.syslog_line, "decision", lambda *_, **fields: said.append(fields["taken"]))
    for number in range(4):
        asked(site._replace(leases=LeaseValues(warn_at_percent=100)), f"P {number}", users)
    assert set(said) <= {4}
    with Gridmapdir(site.gridmapdir) as directory:
        found = accounts.survey(directory.entries(), "cms")
    lending.warn_when_nearly_full("cms", 2, found.total, site._replace(leases=LeaseValues(warn_at_percent=50)), silent)
    assert said[-1] == 2


# Many at once


def test_many_are_leased_at_once_each_recorded_and_published(site, users):
    earlier = asked(site, "P 7", users)
    found = lease_many([(person(f"P {number}"), "cms") for number in range(90)], site, silent, users)
    assert len({lease.account for lease in found.values()}) == 90
    assert found[earlier.name] == earlier._replace(created=False, record=None)
    records = bodies(site, "lease")
    assert {record["account"]: record["subject"] for record in records} == {
        lease.account: lease.subject for lease in found.values()
    }
    assert len(records) == 90
    assert all(holders.read(site.holders, lease.account).lease == lease.lease_id for lease in found.values())
    assert sum(map(len, holders_of_accounts(site).values())) == 90
    assert asked(site, "P 3", users).account in {lease.account for lease in found.values()}


def test_of_many_those_who_cannot_be_lent_anything_are_refused_and_the_others_are_not(site):
    users = make_accounts(site, "cms001", "cms002")
    asked(site, "Anna", users)
    (site.bans[0]).write_text('"/DC=org/DC=example/CN=Bela"\n')
    people = [person("ANNA"), person("Bela"), person("Chen"), person("Dora")]
    found = lease_many([(identity, "cms") for identity in people], site, silent, users)
    reasons_of = sorted(lease.reason for lease in found.values() if isinstance(lease, Refused))
    assert reasons.LEASE_NAME_COLLISION in reasons_of
    assert reasons.POOL_FULL in reasons_of
    assert len(found) == 4
    assert len([lease for lease in found.values() if isinstance(lease, Lease)]) <= 1
    assert not any(isinstance(lease, Lease) and lease.subject.endswith("Bela") for lease in found.values())


def test_nobody_is_handed_an_account_before_all_of_them_are_durable(site, users, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("gridwarden.mapper.own_directories.sync_file_system", fail)
    with pytest.raises(Exception, match="cannot make leases durable"):
        lease_many([(person("Anna"), "cms"), (person("Bela"), "cms")], site, silent, users)
    assert bodies(site, "lease") == []
    assert os.listdir(site.holders) == []


def test_users_read_once_are_those_that_the_system_has():
    once = accounts.UsersReadOnce()
    for user in pwd.getpwall():
        assert once.getpwnam(user.pw_name) == pwd.getpwnam(user.pw_name)
        assert once.getpwuid(user.pw_uid) == pwd.getpwuid(user.pw_uid)
    with pytest.raises(KeyError):
        once.getpwnam("nobody-has-this-name")


def test_an_account_that_nobody_may_use_is_passed_over_at_every_throw(site):
    make_accounts(site, *POOL)
    users = Users("cms050")
    assert asked(site, "Anna", users).account == "cms050"
    with Gridmapdir(site.gridmapdir) as directory:
        assert set(candidates.probable(directory, "cms"))
    assert asked(site, "Anna", users).account == "cms050"
