"""Pools made and enlarged on the running site, with the users that systemd makes of what is written."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

GRIDMAPDIR = Path("/etc/grid-security/gridmapdir")
NEW = ("cms021", "cms022")


def run(*words, code=0):
    done = subprocess.run(list(words), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


@pytest.fixture
def clean():
    yield
    for account in NEW:
        subprocess.run(["userdel", "--remove", account], check=False, capture_output=True)
        (GRIDMAPDIR / account).unlink(missing_ok=True)
    Path("/etc/more-cms.conf").unlink(missing_ok=True)


def accounts():
    return {row["account"]: row for row in json.loads(run("gridwarden", "pool", "show", "cms", "--format", "json"))}


def test_the_pools_are_counted_and_nothing_is_wrong_with_them():
    rows = {row["pool"]: row for row in json.loads(run("gridwarden", "pool", "show", "--format", "json"))}
    assert set(rows) == {"cms", "atlas"}
    assert all(row["accounts"] == 20 and row["problems"] is None for row in rows.values())
    assert all(
        sum(row[state] for state in ("free", "held", "foreign", "cooling", "faulty")) == 20 for row in rows.values()
    )


def test_accounts_without_user_or_home_and_confusing_prefixes_are_found(tmp_path):
    away = tmp_path / "home"
    run("mv", "/home/cms007", str(away))  # keeps the owner, also from one file system to another
    files = [GRIDMAPDIR / "cms999", GRIDMAPDIR / "cmsprd001"]
    try:
        for path in files:
            path.touch(mode=0o644)
        problems = {account: row["problem"] for account, row in accounts().items() if row["problem"]}
        summary = run("gridwarden", "pool", "show")
    finally:
        run("mv", str(away), "/home/cms007")
        for path in files:
            path.unlink()
    assert set(problems) == {"cms007", "cms999"}
    assert "/home/cms007" in problems["cms007"]
    assert "no passwd entry" in problems["cms999"]
    assert "cmsprd001" in summary


@pytest.mark.usefixtures("clean")
def test_a_pool_grows_by_accounts_that_are_there_to_be_lent_only_once_they_have_users():
    gid = pwd.getpwnam("cms020").pw_gid
    grow = ["gridwarden", "pool", "grow", "cms", "--size", "22", "--first-uid", "2121"]
    printed = run(*grow, "--print", "sysusers")
    assert "\ng " not in printed
    assert f'u cms021 2121:{gid} "pool account" /home/cms021 /bin/bash' in printed
    assert "dn: uid=cms022,ou=People,dc=example,dc=org" in run(*grow, "--print", "ldif")
    said = run(*grow, "--sysusers", "/etc/more-cms.conf", code=1)
    assert "wrote /etc/more-cms.conf" in said
    assert "accounts that are not whole yet: 2" in said
    assert not any((GRIDMAPDIR / account).exists() for account in NEW)
    run("systemd-sysusers", "/etc/more-cms.conf")
    assert "would make /home/cms021" in run(*grow, "--dry-run")
    run(*grow, "--sysusers", "/etc/more-cms.conf")
    for account, uid in zip(NEW, (2121, 2122), strict=True):
        row = accounts()[account]
        assert (row["uid"], row["state"], row["problem"]) == (uid, "free", None)
        status = os.stat(f"/home/{account}")
        assert (status.st_uid, status.st_mode & 0o777) == (uid, 0o700)
    assert "has 22 accounts already" in run(*grow, code=2)


@pytest.mark.usefixtures("clean")
def test_what_was_made_stays_when_the_pool_is_made_again():
    first, gid = pwd.getpwnam("cms001").pw_uid, pwd.getpwnam("cms001").pw_gid
    create = ["gridwarden", "pool", "create", "cms", "--size", "20", "--first-uid", str(first), "--gid", str(gid)]
    before = {path.name: path.stat().st_ino for path in GRIDMAPDIR.iterdir()}
    done = subprocess.run(create, capture_output=True, text=True, check=False)
    assert {path.name: path.stat().st_ino for path in GRIDMAPDIR.iterdir()} == before, done.stdout
    assert "site.yaml has no pool lhcb" in run(*[word.replace("cms", "lhcb") for word in create], code=2)


@pytest.fixture
def elsewhere():
    """A configuration with one pool more and directories of its own; the users that the test makes go afterwards."""
    place = Path("/srv/new-pool")
    (place / "gridmapdir").mkdir(mode=0o755, parents=True)
    (place / "home").mkdir(mode=0o755)
    text = Path("/etc/gridwarden/site.yaml").read_text()
    text = text.replace("pools: [cms, atlas]", "pools: [cms, atlas, lhcb]")
    text = text.replace("gridmapdir: /etc/grid-security/gridmapdir", f"gridmapdir: {place}/gridmapdir")
    (place / "site.yaml").write_text(text)
    yield place
    for number in (1, 2, 3):
        subprocess.run(["userdel", f"lhcb{number:04}"], check=False, capture_output=True)
    subprocess.run(["groupdel", "lhcb"], check=False, capture_output=True)
    shutil.rmtree(place)


def test_a_new_pool_is_made_from_one_declaration_in_two_runs(elsewhere):
    gridwarden = ("gridwarden", "--config", f"{elsewhere}/site.yaml", "pool")
    users = f"{elsewhere}/lhcb.conf"
    numbers = ("--size", "3", "--digits", "4", "--first-uid", "50001", "--gid", "50000")
    create = (*gridwarden, "create", "lhcb", *numbers, "--homes", f"{elsewhere}/home")
    assert "g lhcb 50000\n" in run(*create, "--print", "sysusers")
    run(*create, "--sysusers", users, "--dry-run", code=1)
    assert not Path(users).exists()
    run(*create, "--sysusers", users, code=1)
    run("systemd-sysusers", users)
    assert run(*create, "--sysusers", users).count("made ") == 6
    assert run(*create) == ""
    rows = json.loads(run(*gridwarden, "show", "lhcb", "--format", "json"))
    assert [(row["account"], row["uid"], row["state"], row["problem"]) for row in rows] == [
        (f"lhcb{number:04}", 50000 + number, "free", None) for number in (1, 2, 3)
    ]
    assert pwd.getpwnam("lhcb0003").pw_gid == 50000
    assert "lhcb0001 has uid 50001 and gid 50000 here, not 2101" in run(
        *[word.replace("50001", "2101") for word in create], code=78
    )
