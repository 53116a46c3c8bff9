"""What somebody, or a broken disk, may put in place of gridwarden's own files and directories in the gridmapdir."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import pytest

from gridwarden import holders
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.mapper import nodes, repair
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.repair import check_directory
from tests.gridmap import asked, holders_of_accounts, person, state

POOLS = ("cms", "atlas")
ANNA, BELA = person("Anna"), person("Bela")


@pytest.fixture(autouse=True)
def nobody_else_works_there(monkeypatch):
    monkeypatch.setattr(repair, "SETTLING_SECONDS", 0)


def own(site, kind, name):
    return site.gridmapdir / ".gridwarden" / kind / name


def a_large_file(path):
    path.write_bytes(b"x509\n" + b"a" * 70_000)


def a_directory(path):
    path.mkdir()


def a_link(path):
    path.symlink_to("/etc/passwd")


def a_fifo(path):
    os.mkfifo(path)


def a_socket(path):
    where = os.getcwd()
    os.chdir(path.parent)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(where)


def a_file_that_all_may_write(path):
    path.write_bytes(b"")
    path.chmod(0o666)


ODD = [a_large_file, a_directory, a_link, a_fifo, a_socket, a_file_that_all_may_write]


def replaced(path, odd):
    path.unlink()
    odd(path)


def found(site, users, *, mending=False):
    """Kind, name and state of each finding; a check alone changes nothing."""
    before = state(site)
    outcomes = check_directory(site, POOLS, repair=mending, users=users)
    assert mending or state(site) == before
    assert all(outcome.finding.detail and outcome.what for outcome in outcomes)
    return [(outcome.finding.kind, outcome.finding.name, outcome.state) for outcome in outcomes]


@pytest.mark.parametrize("odd", ODD)
def test_what_stands_in_place_of_a_lease_file_is_found_and_the_lease_keeps_its_id(site, users, odd):
    anna, bela = asked(site, ANNA, users), asked(site, BELA, users)
    replaced(own(site, "leases", anna.name), odd)
    own(site, "leases", bela.name).unlink()  # another fault, which is found as well
    expected = {("lease-file-wrong", anna.name), ("lease-file-missing", anna.name), ("lease-file-missing", bela.name)}
    assert {one[:2] for one in found(site, users)} == expected
    assert {one[2] for one in found(site, users, mending=True)} == {"repaired"}
    assert found(site, users) == []
    again = asked(site, ANNA, users)
    assert (again.account, again.lease_id, again.created) == (anna.account, anna.lease_id, False)


@pytest.mark.parametrize("odd", ODD)
def test_a_mapping_over_it_hands_out_the_same_lease_or_nothing(site, users, odd):
    anna = asked(site, ANNA, users)
    replaced(own(site, "leases", anna.name), odd)
    with suppress(Unavailable):
        again = asked(site, ANNA, users)
        assert (again.account, again.lease_id) == (anna.account, anna.lease_id)
    with pytest.raises(Refused, match="lease-name-collision"):
        asked(site, person("ANNA"), users)


@pytest.mark.parametrize("odd", ODD)
def test_what_stands_in_place_of_a_registered_identity_lets_nobody_in_and_a_person_must_look(site, users, odd):
    anna = asked(site, ANNA, users)
    before = own(site, "names", anna.name).read_bytes()
    replaced(own(site, "names", anna.name), odd)
    for name in ("Anna", "ANNA"):
        with pytest.raises(Refused, match="lease-corrupt") as caught:
            asked(site, person(name), users)
        assert f".gridwarden/names/{anna.name}" in caught.value.detail
    assert ("claim-corrupt", anna.name, "look") in found(site, users, mending=True)
    assert not [one for one in found(site, users) if one[0] == "two-identities"]
    path = own(site, "names", anna.name)
    path.rmdir() if path.is_dir() else path.unlink()
    assert found(site, users, mending=True) == [("claim-lost", anna.name, "repaired")]
    assert path.read_bytes() == before


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["cooling", "nodes", "accounts"])
def test_what_stands_in_place_of_any_other_file_of_ours_is_found_and_removed(site, users, kind, odd):
    asked(site, ANNA, users)
    path = own(site, kind, "cms")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    odd(path)
    assert asked(site, BELA, users).created
    if (kind, odd) in {("accounts", a_large_file), ("nodes", a_large_file)}:  # they may be so large
        return
    replaced_by_then = kind == "accounts" and not path.is_dir() and path.is_file() and path.stat().st_mode & 0o77 == 0
    expected = [] if replaced_by_then else [("file-wrong", f".gridwarden/{kind}/cms")]
    assert [one[:2] for one in found(site, users)] == expected
    found(site, users, mending=True)
    assert found(site, users) == []


def test_a_directory_with_something_in_it_is_left_and_the_others_are_repaired(site, users):
    anna, bela = asked(site, ANNA, users), asked(site, BELA, users)
    path = own(site, "leases", anna.name)
    replaced(path, a_directory)
    (path / "whose").touch()
    own(site, "leases", bela.name).unlink()
    outcomes = found(site, users, mending=True)
    assert ("lease-file-wrong", anna.name, "failed") in outcomes
    assert ("lease-file-missing", bela.name, "repaired") in outcomes
    assert (path / "whose").exists()


@pytest.mark.parametrize("kind", ["names", "leases"])
def test_a_file_that_the_file_system_does_not_give_is_named_and_the_others_are_judged(site, users, kind, monkeypatch):
    anna, bela = asked(site, ANNA, users), asked(site, BELA, users)
    own(site, "leases", bela.name).unlink()
    really = os.read

    def broken(descriptor, length):  # a disk cannot be broken here: the answer of the system call is
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(own(site, kind, anna.name)):
            raise OSError(5, os.strerror(5))
        return really(descriptor, length)

    monkeypatch.setattr(os, "read", broken)
    outcomes = found(site, users, mending=True)
    assert ("file-unreadable", f".gridwarden/{kind}/{anna.name}", "look") in outcomes
    assert ("lease-file-missing", bela.name, "repaired") in outcomes
    if kind == "leases":
        with pytest.raises(Unavailable, match=r"cannot read .*Input/output error"):
            asked(site, ANNA, users)


@pytest.mark.parametrize("where", ["", "/names", "/leases"])
@pytest.mark.parametrize("odd", [a_large_file, a_link, a_fifo])
def test_what_stands_in_place_of_a_directory_of_ours_is_named_with_what_to_do(site, users, where, odd):
    anna = asked(site, ANNA, users)
    path = site.gridmapdir / f".gridwarden{where}"
    path.rename(path.with_name("aside"))
    odd(path)
    before = holders_of_accounts(site)
    for work in (
        lambda: asked(site, ANNA, users),
        lambda: asked(site, BELA, users),
        lambda: check_directory(site, POOLS, users=users),
    ):
        with pytest.raises(ConfigurationError) as caught:
            work()
        assert str(caught.value) == f"gridmapdir {path}: is not a directory"
        assert "backup" in caught.value.hint
    assert holders_of_accounts(site) == before
    path.unlink()
    path.with_name("aside").rename(path)
    assert asked(site, ANNA, users).lease_id == anna.lease_id


def test_what_is_said_of_moving_it_aside_gives_everybody_their_lease_back(site, users):
    anna = asked(site, ANNA, users)
    (site.gridmapdir / ".gridwarden").rename(site.gridmapdir.parent / "aside")
    found(site, users, mending=True)
    with pytest.raises(Refused, match="lease-name-collision"):
        asked(site, person("ANNA"), users)
    assert asked(site, ANNA, users).lease_id == anna.lease_id
    assert holders.read(site.holders, anna.account).lease == anna.lease_id


@pytest.mark.parametrize("where", ["", "/names"])
def test_a_directory_of_ours_that_belongs_to_somebody_else_decides_nothing(site, users, where):
    asked(site, ANNA, users)
    path = site.gridmapdir / f".gridwarden{where}"
    os.chown(path, 20001, 20001)
    for work in (lambda: asked(site, ANNA, users), lambda: check_directory(site, POOLS, users=users)):
        with pytest.raises(ConfigurationError, match="belongs to uid 20001") as caught:
            work()
        assert caught.value.hint == f"chown root {path}"


def test_a_node_may_answer_for_a_whole_pool_that_cools(site, users):
    asked(site, ANNA, users)
    answers = tuple(nodes.Answer(f"cms{number:05}", f"{number:032x}", "") for number in range(5000))
    with Gridmapdir(site.gridmapdir) as directory:
        nodes.write(directory, nodes.Said("wn1", "boot", 1, answers))
        assert nodes.read(directory, "wn1").answers == answers
    assert found(site, users) == []
