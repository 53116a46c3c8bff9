"""Pools from one declaration, in real directories and before the programs that read what is written."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess

import pytest

from gridwarden.errors import BadQuestion, ConfigurationError
from gridwarden.mapper import pool, pool_files
from gridwarden.mapper.gridmapdir import Gridmapdir

CMS = pool.Declaration("cms", 1, 12, 50001, 50000)


class System:
    """Users as `name: (uid, gid, home)` and groups as `name: gid`."""

    def __init__(self, users=(), groups=()):
        self.users = {
            name: pwd.struct_passwd((name, "x", *ids, "", home, "/bin/sh"))
            for name, (*ids, home) in dict(users).items()
        }
        self.groups = {name: grp.struct_group((name, "x", gid, [])) for name, gid in dict(groups).items()}

    def user(self, name):
        return self.users.get(name)

    def owner(self, uid):
        return next((user for user in self.users.values() if user.pw_uid == uid), None)

    def group(self, name):
        return self.groups.get(name)

    def group_of(self, gid):
        return next((group for group in self.groups.values() if group.gr_gid == gid), None)


def with_users(declared):
    return System({account.name: (account.uid, account.gid, account.home) for account in pool.wanted(declared)})


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "gridmapdir").mkdir(mode=0o755)
    (tmp_path / "home").mkdir(mode=0o755)
    with Gridmapdir(tmp_path / "gridmapdir") as opened:
        yield opened


def declared_in(tmp_path, last=3):
    return pool.Declaration("cms", 1, last, os.getuid() or 50001, os.getgid() or 50000, homes=str(tmp_path / "home"))


def names(directory):
    return sorted(name for name, _ in directory.entries())


def test_accounts_are_numbered_as_the_pool_is():
    accounts = pool.wanted(CMS)
    assert [accounts[0].name, accounts[-1].name] == ["cms001", "cms012"]
    assert [account.uid for account in accounts] == list(range(50001, 50013))
    assert accounts[0].home == "/home/cms001"


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="has no systemd-sysusers")
def test_systemd_makes_exactly_these_users(tmp_path):
    for name in ("etc", "usr/lib/sysusers.d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cms.conf").write_text(pool.sysusers(CMS, group=True))
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(tmp_path / "cms.conf")], check=True, capture_output=True
    )
    made = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    assert [(name, int(uid), int(gid), home, shell) for name, _, uid, gid, _, home, shell in made] == pool.wanted(CMS)
    assert "cms:x:50000:" in (tmp_path / "etc/group").read_text()
    hashes = [line.split(":")[1] for line in (tmp_path / "etc/shadow").read_text().splitlines()]
    assert all(text.startswith(("!", "*")) for text in hashes)


def test_the_directory_server_gets_the_same_users():
    entries = pool.ldif(CMS, "dc=site,dc=org", group=True).split("\n\n")
    assert entries[0] == "version: 1"
    assert entries[1].startswith("dn: cn=cms,ou=Group,dc=site,dc=org\nobjectClass: posixGroup\n")
    assert len(entries) == 14
    for entry, account in zip(entries[2:], pool.wanted(CMS), strict=True):
        values = dict(re.findall(r"^(\w+): (.*)$", entry, re.MULTILINE))
        assert values["dn"] == f"uid={account.name},ou=People,dc=site,dc=org"
        assert (values["uidNumber"], values["gidNumber"], values["homeDirectory"]) == (
            str(account.uid), "50000", account.home,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "users", "groups", "what"),
    [
        (CMS._replace(first_uid=999), {}, {}, "not those of ordinary users"),
        (CMS._replace(first_uid=65530), {}, {}, "not those of ordinary users"),
        (CMS._replace(gid=0), {}, {}, "not those of ordinary users"),
        (CMS, {}, {"cms": 7}, "the group cms has gid 7 here"),
        (CMS, {"cms002": (50009, 50000, "/home/cms002")}, {}, "cms002 has uid 50009"),
        (CMS, {"jane": (50003, 100, "/home/jane")}, {}, "uid 50003, for cms003, is jane's"),
        (CMS._replace(pool="c" * 30), {}, {}, "longer than 32"),
    ],
)
def test_a_pool_that_would_take_anothers_uid_or_name_is_refused_whole(declared, users, groups, what):
    with pytest.raises(ConfigurationError, match=what):
        pool.refuse_faulty(declared, System(users, groups))


def test_the_group_of_a_pool_is_made_with_it_unless_it_is_anothers():
    assert pool.needs_group(CMS, System())
    assert pool.needs_group(CMS, System(groups={"cms": 50000}))
    assert not pool.needs_group(CMS._replace(first=13, last=20), System())
    assert not pool.needs_group(CMS, System(groups={"grid": 50000}))
    assert not [line for line in pool.sysusers(CMS, group=False).splitlines() if line.startswith("g ")]
    assert "posixGroup" not in pool.ldif(CMS, "dc=site,dc=org", group=False)


def test_all_faults_are_told_at_once_but_no_flood_of_them():
    users = {f"jane{n}": (50000 + n, 100, "/home/jane") for n in range(1, 101)}
    with pytest.raises(ConfigurationError) as caught:
        pool.refuse_faulty(CMS._replace(last=100), System(users))
    assert caught.value.faults[-1] == "and 80 more"


def test_no_account_is_lent_before_the_machine_knows_its_user(directory, tmp_path):
    made, not_made = pool_files.make(pool.wanted(declared_in(tmp_path)), directory, System(), dry_run=False)
    assert made == []
    assert [line.split(":")[0] for line in not_made] == ["cms001", "cms002", "cms003"]
    assert names(directory) == []
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives homes to other users: needs root")
def test_homes_and_files_are_made_once_and_what_is_there_stays(directory, tmp_path):
    declared = declared_in(tmp_path)
    accounts, system = pool.wanted(declared), with_users(declared)
    assert len(pool_files.make(accounts, directory, system, dry_run=True)[0]) == 6
    assert names(directory) == []
    made, not_made = pool_files.make(accounts, directory, system, dry_run=False)
    assert (len(made), not_made) == (6, [])
    assert names(directory) == ["cms001", "cms002", "cms003"]
    home = (tmp_path / "home/cms002").stat()
    assert (home.st_uid, home.st_gid, stat.S_IMODE(home.st_mode)) == (50002, 50000, 0o700)
    (tmp_path / "home/cms002/work").write_text("kept")
    os.link(tmp_path / "gridmapdir/cms002", tmp_path / "gridmapdir/%2fcn%3danna")
    assert pool_files.make(accounts, directory, system, dry_run=False) == ([], [])
    assert (tmp_path / "home/cms002/work").read_text() == "kept"
    assert (tmp_path / "gridmapdir/cms002").stat().st_nlink == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="gives homes to other users: needs root")
def test_an_account_whose_home_is_anothers_is_never_lent(directory, tmp_path):
    declared = declared_in(tmp_path, last=2)
    (tmp_path / "home/cms001").mkdir()
    (tmp_path / "home/cms002").symlink_to("/root")
    made, not_made = pool_files.make(pool.wanted(declared), directory, with_users(declared), dry_run=False)
    assert made == []
    assert "belongs to uid 0" in not_made[0]
    assert "is not a directory" in not_made[1]
    assert names(directory) == []


def test_a_pool_grows_like_its_last_account():
    users = {f"cms{n:02}": (60000 + n, 60000, f"/grid/cms{n:02}") for n in (1, 2, 7)}
    grown = pool.grown("cms", 5, None, [*users, "%2fcn%3danna", "atlas01"], System(users))
    assert [account[:4] for account in pool.wanted(grown)] == [
        ("cms08", 60008, 60000, "/grid/cms08"),
        ("cms09", 60009, 60000, "/grid/cms09"),
    ]
    assert pool.grown("cms", 4, 70000, users, System(users)).first_uid == 70000


def test_a_pool_neither_shrinks_nor_grows_out_of_nothing():
    users = {"cms01": (60001, 60000, "/home/cms01")}
    for size, present, system in [(1, users, System(users)), (5, [], System()), (5, users, System())]:
        with pytest.raises(BadQuestion):
            pool.grown("cms", size, None, present, system)
    with pytest.raises(BadQuestion, match="has other accounts already"):
        pool.created(CMS, ["cms77"])
    assert pool.created(CMS, ["cms001", "atlas99", "%2fcn%3danna"]) == CMS


def test_prefixes_that_older_programs_confuse_are_found():
    assert pool.overlapping("cms", ["cms001", "atlas001", ".x", "%2fcms"]) == ""
    assert "cmsprd001, cmsprd002" in pool.overlapping("cms", ["cms001", "cmsprd001", "cmsprd002"])


def test_a_file_of_users_is_never_written_over(tmp_path):
    path = tmp_path / "cms.conf"
    assert "would write" in pool_files.write_new(path, "a\n", dry_run=True)
    assert not path.exists()
    assert pool_files.write_new(path, "a\n", dry_run=False) == f"wrote {path}"
    assert pool_files.write_new(path, "a\n", dry_run=False) == f"{path} is there"
    with pytest.raises(ConfigurationError):
        pool_files.write_new(path, "b\n", dry_run=False)
    assert path.read_text() == "a\n"
