from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gridwarden.prune import hand_over, home, ipc, quota, spools
from tests.apart import in_private_mounts
from tests.proof.silent import dead_mount

UID, GID = 23456, 23456
OTHER = 23457
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@pytest.fixture
def place():
    """A directory of root's that the account can reach, which pytest's own it cannot."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def skeleton(place):
    directory = place / "skel"
    directory.mkdir()
    (directory / ".profile").write_text("# root's\n")
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o755)
    return directory


@pytest.fixture
def own_home(place):
    directory = place / "home"
    directory.mkdir(mode=0o700)
    os.chown(directory, UID, GID)
    return directory


def plant(path, data="planted", owner=UID, mode=0o644):
    path.write_text(data)
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


def rebuilt(own_home, skeleton):
    return home.rebuild(str(own_home), UID, GID, str(skeleton), 10)


def contents(directory):
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_a_home_is_as_the_skeleton_whatever_was_planted(own_home, skeleton, place):
    outside = plant(place / "of-another", "theirs", OTHER, 0o666)
    plant(own_home / ".profile", "evil")
    os.link(outside, own_home / "linked")
    (own_home / "followed").symlink_to(place)
    (own_home / ".profile.d").mkdir(mode=0o700)
    os.chown(own_home / ".profile.d", UID, GID)
    os.mkfifo(own_home / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(own_home / "socket"))
    own_home.chmod(0o2777)

    removed, left = rebuilt(own_home, skeleton)
    assert left == []
    assert {os.path.basename(path) for path in removed} == {
        ".profile", "linked", "followed", ".profile.d", "pipe", "socket",
    }  # fmt: skip
    assert contents(own_home) == {".profile": "# root's\n", "run": "#!/bin/sh\n"}
    assert {path.stat().st_uid for path in own_home.iterdir()} == {UID}
    assert stat.S_IMODE((own_home / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE(own_home.stat().st_mode) == 0o700
    assert outside.read_text() == "theirs"


def test_a_home_that_is_as_the_skeleton_is_left_so(own_home, skeleton):
    rebuilt(own_home, skeleton)
    before = {path.name: path.stat().st_ino for path in own_home.iterdir()}
    assert rebuilt(own_home, skeleton) == ([], [])
    assert {path.name: path.stat().st_ino for path in own_home.iterdir()} == before


@pytest.mark.parametrize("planted", [{"mode": 0o666}, {"data": "# root's\n;evil"}, {"owner": OTHER}])
def test_a_file_that_only_looks_like_the_skeletons_is_replaced(own_home, skeleton, planted):
    rebuilt(own_home, skeleton)
    (own_home / ".profile").unlink()
    plant(own_home / ".profile", **{"data": "# root's\n", **planted})
    assert rebuilt(own_home, skeleton) == ([f"{own_home}/.profile"], [])
    assert (own_home / ".profile").stat().st_uid == UID
    assert contents(own_home)[".profile"] == "# root's\n"


def test_a_skeletons_file_that_has_another_name_elsewhere_is_replaced(own_home, skeleton, place):
    rebuilt(own_home, skeleton)
    os.link(own_home / ".profile", place / "kept")
    rebuilt(own_home, skeleton)
    assert (own_home / ".profile").stat().st_nlink == 1


def test_what_the_account_could_not_remove_itself_keeps_the_account(own_home, skeleton):
    (own_home / "of-root").mkdir(mode=0o755)
    (own_home / "of-root" / "file").touch()
    _, left = rebuilt(own_home, skeleton)
    assert [path for path, why in left if why] == [f"{own_home}/of-root"]


def test_another_file_system_mounted_in_the_home_is_not_entered(own_home, skeleton):
    mounted = own_home / "mounted"
    mounted.mkdir()
    program = f"""
mount -t tmpfs tmpfs {mounted} && touch {mounted}/precious
{sys.executable} -c 'from gridwarden.prune import home
print(home.rebuild("{own_home}", {UID}, {GID}, "{skeleton}", 10))'
ls {mounted}
"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", program], capture_output=True, text=True, check=False, cwd="/"
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("may not mount here")
    assert done.returncode == 0, done.stderr
    assert "mounted" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1:] == ["precious"]


def test_an_acl_on_the_home_opens_it_to_nobody(own_home, skeleton):
    entries = [(1, 7, 2**32 - 1), (2, 7, OTHER), (4, 0, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)]  # acl(5)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(own_home, "system.posix_acl_access", acl)
        os.setxattr(own_home, "system.posix_acl_default", acl)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs: {error}")
    assert rebuilt(own_home, skeleton) == ([], [])
    assert os.listxattr(own_home) == os.listxattr(own_home / ".profile") == []
    assert stat.S_IMODE(own_home.stat().st_mode) == 0o700


def test_a_home_that_even_its_owner_cannot_enter_is_rebuilt(own_home, skeleton):
    plant(own_home / "file")
    own_home.chmod(0)
    assert rebuilt(own_home, skeleton) == ([f"{own_home}/file"], [])


def test_a_home_is_rebuilt_where_root_is_nobody(own_home, skeleton):
    plant(own_home / "file")
    (own_home / ".ssh").mkdir(mode=0o700)
    os.chown(own_home / ".ssh", UID, GID)
    program = f"""
import os
from gridwarden.prune import home
try:
    os.listdir({str(own_home)!r})
except PermissionError:
    print(home.rebuild({str(own_home)!r}, {UID}, {GID}, {str(skeleton)!r}, 10))
"""
    powers = "-dac_override,-dac_read_search,-fowner,-chown"
    done = subprocess.run(
        ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}", sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert done.stdout.strip().endswith(", [])"), done.stdout + done.stderr
    assert sorted(contents(own_home)) == [".profile", "run"]


def test_a_home_of_another_is_left_alone(own_home, skeleton):
    file = plant(own_home / "file")
    os.chown(own_home, OTHER, OTHER)
    assert rebuilt(own_home, skeleton) == ([], [(str(own_home), f"belongs to uid {OTHER}")])
    assert file.exists()


def test_a_home_that_is_a_link_is_not_followed(own_home, skeleton, place):
    file = plant(own_home / "file")
    (place / "link").symlink_to(own_home)
    removed, left = home.rebuild(str(place / "link"), UID, GID, str(skeleton), 10)
    assert (removed, len(left)) == ([], 1)
    assert file.exists()


def test_a_skeleton_that_others_can_write_fills_no_home(own_home, skeleton):
    skeleton.chmod(0o777)
    file = plant(own_home / "file")
    removed, left = rebuilt(own_home, skeleton)
    assert (removed, len(left)) == ([], 1)
    assert file.exists()


def owned(uid):
    return [one for one in ipc.everything() if uid in one.uids]


def test_system_v_objects_of_the_account_go_and_others_stay():
    made = ["ipcmk", "--shmem", "4096", "--queue", "--semaphore", "1", "--mode", "0666"]
    for uid in (UID, OTHER):
        subprocess.run(made, user=uid, group=uid, check=True, capture_output=True)
    try:
        removed, left = ipc.remove(UID, GID, 5)
        assert sorted(path.split("/")[3] for path in removed) == ["msg", "sem", "shm"]
        assert (left, owned(UID)) == ([], [])
        assert len(owned(OTHER)) == 3
    finally:
        ipc.remove(OTHER, OTHER, 5)


def test_what_waits_in_the_spools_goes_and_others_stays(place, monkeypatch):
    named, owned = place / "crontabs", place / "atjobs"
    for directory in (named, owned):
        directory.mkdir()
        for name in ("cms001", "cms0011"):
            plant(directory / name, owner=UID if name == "cms001" else OTHER)
    plant(owned / "a00001", owner=UID)
    (owned / "of-root").touch()
    monkeypatch.setattr(spools, "NAMED_AS_ACCOUNT", (str(named), str(place / "missing")))
    monkeypatch.setattr(spools, "OWNED_BY_ACCOUNT", (str(owned),))
    removed, left = spools.remove("cms001", UID, 10)
    assert left == []
    assert sorted(removed) == [f"{owned}/a00001", f"{owned}/cms001", f"{named}/cms001"]
    assert sorted(os.listdir(named)) == ["cms0011"]
    assert sorted(os.listdir(owned)) == ["cms0011", "of-root"]


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="the site has no /dev/fuse: this runs outside it")
def test_homes_on_a_dead_mount_keep_the_account_busy_and_hold_nobody_up(place, skeleton):
    homes = place / "homes"
    homes.mkdir()
    with dead_mount(homes):
        left = home.rebuild(f"{homes}/cms001", UID, GID, str(skeleton), 1)
    assert left == ([], [(f"{homes}/cms001", "could not be rebuilt, or not in time")])


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="the site has no /dev/fuse: this runs outside it")
def test_a_spool_on_a_dead_mount_keeps_the_account_busy_and_holds_nobody_up(place, monkeypatch):
    dead, alive = place / "dead", place / "alive"
    for directory in (dead, alive):
        directory.mkdir()
    plant(alive / "cms001")
    monkeypatch.setattr(spools, "NAMED_AS_ACCOUNT", (str(dead), str(alive)))
    monkeypatch.setattr(spools, "OWNED_BY_ACCOUNT", ())
    with dead_mount(dead):
        assert spools.remove("cms001", UID, 2) == ([f"{alive}/cms001"], [(str(dead), "does not answer")])


def test_a_setuid_file_with_a_name_out_of_reach_makes_nobody_the_next_holder(place):
    scratch, hidden = place / "scratch", place / "hidden"
    scratch.mkdir()
    scratch.chmod(0o1777)
    hidden.mkdir()
    program = plant(scratch / "program", mode=0o6755)
    os.link(program, hidden / "program")
    plain = plant(scratch / "plain", mode=0o644)
    os.link(plain, hidden / "plain")
    done = hand_over.empty("cms001", UID, GID, [str(scratch)], "", "")
    assert done.left == []
    assert list(scratch.iterdir()) == []
    assert stat.S_IMODE((hidden / "program").stat().st_mode) == 0o755
    assert stat.S_IMODE((hidden / "plain").stat().st_mode) == 0o644


def test_what_is_started_while_the_account_is_emptied_does_not_outlive_it(place, monkeypatch):
    """As cron may do: each removal of its table finds one more run of it."""
    scratch = place / "scratch"
    scratch.mkdir()
    scratch.chmod(0o1777)
    started = []

    def remove(*_):
        if len(started) < 2:
            started.append(subprocess.Popen(["sleep", "300"], user=UID, group=GID))
            plant(scratch / f"planted-{len(started)}")
        return [], []

    monkeypatch.setattr(spools, "remove", remove)
    done = hand_over.empty("cms001", UID, GID, [str(scratch)], "", "")
    assert [process.wait() for process in started] == [-9, -9]
    assert (done.left, len(done.removed), list(scratch.iterdir())) == ([], 2, [])
    assert {process.pid for process in done.killed} == {process.pid for process in started}


def test_what_comes_back_for_ever_keeps_the_account(place, monkeypatch):
    monkeypatch.setattr(spools, "remove", lambda *_: (["/var/spool/cron/crontabs/cms001"], []))
    assert hand_over.empty("cms001", UID, GID, [], "", "").left == [("cms001", "something of it keeps coming back")]


def test_a_quota_that_cannot_be_asked_keeps_the_account():
    assert "cannot be asked" in quota.why_left("/proc", UID)


def mount_with_quota(place):
    """Mount a file system that counts what each user owns; why none can be had here, or nothing."""
    place.mkdir()
    options = ["-o", "usrquota,mode=0755", "tmpfs", str(place)]  # Linux 6.6
    if subprocess.run(["mount", "-t", "tmpfs", *options], capture_output=True, check=False).returncode == 0:
        return ""
    image = place.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    made = ["mkfs.ext4", "-q", "-O", "quota", "-E", "quotatype=usrquota", str(image)]
    for command in (made, ["mount", "-o", "loop", str(image), str(place)]):
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
        except FileNotFoundError as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return error.stderr.splitlines()[0]
    return ""


def test_a_home_is_not_walked_where_its_quota_says_whether_it_is_empty(place):
    """The kernel is asked, in one call however many files there are, and nothing below the home is opened."""

    def work():
        assert not mount_with_quota(place / "homes")
        own = place / "homes" / "cms001"
        own.mkdir(mode=0o700)
        os.chown(own, UID, GID)
        (own / "of-root").touch()
        looked_at = []
        sys.addaudithook(lambda event, about: looked_at.append((event, about[:1])) if event.startswith("os.") else None)
        sys.addaudithook(lambda event, about: looked_at.append((event, about[:1])) if event == "open" else None)
        assert quota.why_left(str(own), UID) == ""
        for number in range(300):
            plant(own / str(number))
        looked_at.clear()
        assert quota.why_left(str(own), UID) == "its quota counts 301 files"
        assert [about for event, about in looked_at if event == "open"] == [(str(own),)]
        assert not [event for event, _ in looked_at if event in ("os.listdir", "os.scandir")]
        assert quota.why_left(str(own), OTHER) == ""

    def probe():
        if why := mount_with_quota(place / "probe"):
            (place / "why-not").write_text(why)

    in_private_mounts(probe)
    if (place / "why-not").exists():
        pytest.skip(f"this kernel counts no user's files: {(place / 'why-not').read_text()}")
    in_private_mounts(work)


@pytest.mark.parametrize(("inodes", "expected"), [(0, ""), (1, ""), (2, "its quota counts 2 files")])
def test_a_quota_tells_of_what_is_not_the_home_directory(inodes, expected):
    assert quota.verdict(bytes(40) + inodes.to_bytes(8, sys.byteorder) + bytes(24)) == expected
