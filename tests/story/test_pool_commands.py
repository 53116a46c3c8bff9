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
    shutil.move("/home/cms007", tmp_path / "home")
    files = [GRIDMAPDIR / "cms999", GRIDMAPDIR / "cmsprd001"]
    try:
        for path in files:
            path.touch(mode=0o644)
        problems = {account: row["problem"] for account, row in accounts().items() if row["problem"]}
        summary = run("gridwarden", "pool", "show")
    finally:
        shutil.move(tmp_path / "home", "/home/cms007")
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
