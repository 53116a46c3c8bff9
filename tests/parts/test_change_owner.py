"""Giving a pilot's scratch to a payload and back, while either plays tricks in it."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden.prune import change_owner
from gridwarden.prune.change_owner import Giving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: needs root")

PILOT, PAYLOAD, OTHER = 61041, 61042, 61043


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may pass through; pytest's own is closed by each run of pytest anew."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The pilot's directory, mode 0700, in one of everybody's."""
    path = tmp_path / "scratch"
    make(path)
    path.chmod(0o700)
    return path


def make(path: Path, owner: int = PILOT, data: bytes | None = None) -> Path:
    """A file with ``data``, or a directory, of ``owner``."""
    if data is None:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.write_bytes(data)
    os.lchown(path, owner, owner)
    return path


def give(
    path: Path, source: int = PILOT, receiver: int = PAYLOAD, seconds: float = 20, *, directory_last: bool = False
) -> list[tuple[str, str]]:
    top = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        giving = Giving(source, receiver, receiver, seconds, directory_last=directory_last)
        return change_owner.change_owner(top, giving)
    finally:
        os.close(top)


def give_back(path: Path) -> list[tuple[str, str]]:
    return give(path, PAYLOAD, PILOT, directory_last=True)


def owner(path: Path) -> int:
    return os.lstat(path).st_uid


@contextmanager
def attacker(uid: int, trick: Callable[[], None]) -> Iterator[None]:
    """Somebody who does ``trick`` again and again, whatever comes of it."""
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        while True:
            with suppress(OSError):
                trick()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_payload_can_use_what_the_pilot_left_and_the_pilot_what_the_payload_made(scratch: Path) -> None:
    make(scratch / "in", data=b"input").chmod(0o600)
    make(scratch / "sub").chmod(0o700)
    make(scratch / "sub/deep", data=b"x")
    os.symlink("/etc/hostname", scratch / "link")
    os.lchown(scratch / "link", PILOT, PILOT)
    assert give(scratch) == []
    assert {owner(path) for path in (scratch, *scratch.rglob("*"))} == {PAYLOAD}
    command = f"cat {scratch}/in >&2 && mkdir -m 700 {scratch}/out && umask 77 && echo r > {scratch}/out/result"
    subprocess.run(["sh", "-c", command], user=PAYLOAD, group=PAYLOAD, extra_groups=[], check=True)
    assert give_back(scratch) == []
    subprocess.run(["cat", scratch / "out/result"], user=PILOT, group=PILOT, extra_groups=[], check=True)
    assert {owner(path) for path in (scratch, *scratch.rglob("*"))} == {PILOT}
    assert owner("/etc/hostname") == 0  # type: ignore[arg-type]


def test_links_that_lead_out_give_nothing_away(scratch: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside")
    make(outside / "file", data=b"pilot's own, but elsewhere")
    (scratch / "directory").symlink_to(outside)
    (scratch / "file").symlink_to(outside / "file")
    give(scratch)
    assert (owner(outside), owner(outside / "file")) == (PILOT, PILOT)


def test_what_others_own_stays_theirs_and_so_does_what_is_in_it(scratch: Path) -> None:
    make(scratch / "root", 0, b"root's")
    make(scratch / "others", OTHER)
    make(scratch / "others/pilots", PILOT, b"x")
    assert sorted(give(scratch)) == [("others", change_owner.OTHERS), ("root", change_owner.OTHERS)]
    assert (owner(scratch / "root"), owner(scratch / "others"), owner(scratch / "others/pilots")) == (0, OTHER, PILOT)


def test_a_file_that_has_another_name_is_left_alone_since_that_may_be_anywhere(scratch: Path, tmp_path: Path) -> None:
    make(tmp_path / "precious", data=b"x")
    os.link(tmp_path / "precious", scratch / "innocent")
    make(scratch / "a", data=b"x")
    os.link(scratch / "a", scratch / "b")
    assert sorted(give(scratch)) == [(name, change_owner.LINKED) for name in ("a", "b", "innocent")]
    assert owner(tmp_path / "precious") == PILOT


def test_a_payload_cannot_give_the_pilot_a_program_that_runs_as_the_payload(scratch: Path) -> None:
    give(scratch)
    tool = make(scratch / "tool", PAYLOAD, b"#!/bin/sh\n")
    tool.chmod(0o6755)
    assert give_back(scratch) == []
    assert owner(tool) == PILOT
    assert not stat.S_IMODE(tool.stat().st_mode) & 0o6000, "as the pilot's it would run as the pilot for anybody"


def test_devices_stay_where_they_are(scratch: Path) -> None:
    os.mknod(scratch / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(scratch / "null", PILOT, PILOT)
    os.mkfifo(scratch / "fifo")
    os.chown(scratch / "fifo", PILOT, PILOT)
    assert give(scratch) == [("null", change_owner.DEVICE)]
    assert owner(scratch / "fifo") == PAYLOAD, "a fifo is no reason to wait, and the payload may need it"


def test_another_file_system_mounted_there_is_not_entered(scratch: Path, tmp_path: Path) -> None:
    inside, elsewhere = make(scratch / "mount"), make(tmp_path / "elsewhere")
    make(elsewhere / "file", data=b"x")
    subprocess.run(["mount", "--bind", elsewhere, inside], check=True)
    try:
        assert give(scratch) == [("mount", change_owner.MOUNTED)]
        assert (owner(elsewhere), owner(elsewhere / "file")) == (PILOT, PILOT)
    finally:
        subprocess.run(["umount", inside], check=True)


def test_a_tree_deeper_than_any_path_and_wider_than_memory_is_given_whole(scratch: Path) -> None:
    place = os.open(scratch, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d" * 20, dir_fd=place)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=place)
        os.fchown(below, PILOT, PILOT)
        os.close(place)
        place = below
    wide = make(scratch / "wide")
    for number in range(2000):
        os.close(os.open(wide / f"{number}", os.O_CREAT | os.O_WRONLY))
        os.chown(wide / f"{number}", PILOT, PILOT)
    assert give(scratch) == []
    assert os.fstat(place).st_uid == PAYLOAD
    os.close(place)
    assert {entry.stat().st_uid for entry in os.scandir(wide)} == {PAYLOAD}
    subprocess.run(["rm", "-rf", scratch], check=True)


def test_a_tree_that_is_too_large_for_its_time_costs_that_time_and_is_said_to_be_unfinished(scratch: Path) -> None:
    for number in range(3000):
        make(scratch / f"{number}", data=b"")
    began = time.monotonic()
    assert give(scratch, seconds=0) == [(".", "not reached in time")]
    assert time.monotonic() - began < 10
    assert give(scratch) == []


def test_many_things_left_are_counted_not_listed(scratch: Path) -> None:
    for number in range(150):
        make(scratch / f"{number}", OTHER, b"")
    left = give(scratch)
    assert len(left) == change_owner.MOST_NAMED + 1
    assert (change_owner.MORE, "50 more are left") in left


def test_odd_names_neither_break_off_nor_forge_what_is_said(scratch: Path) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"..\t", b"-rf", b"\x1b[2J", "\u00e4".encode()):
        path = os.path.join(os.fsencode(scratch), name)
        os.mkdir(path)
        os.chown(path, OTHER, OTHER)
    assert {os.fsencode(path) for path, _ in give(scratch)} == set(os.listdir(os.fsencode(scratch)))


def test_a_half_given_tree_is_given_whole_by_who_comes_next(scratch: Path) -> None:
    make(scratch / "done", PAYLOAD)
    make(scratch / "done/not", data=b"x")
    os.chown(scratch, PAYLOAD, PAYLOAD)
    assert give(scratch) == []
    assert owner(scratch / "done/not") == PAYLOAD


RACES = 100
NAMES = 40  # at each of which the two may meet


def side(tmp_path: Path) -> Path:
    """A directory that everybody may use to prepare what is then put in place in one step."""
    path = tmp_path / "side"
    path.mkdir()
    path.chmod(0o777)
    return path


def test_a_directory_exchanged_for_a_link_under_our_hands_leads_nowhere(scratch: Path, tmp_path: Path) -> None:
    victim, aside = make(tmp_path / "victim"), side(tmp_path)
    make(victim / "file", data=b"pilot's, elsewhere")
    victim.chmod(0o755)
    scratch.chmod(0o777)
    names = [make(scratch / f"{number}") for number in range(NAMES)]
    for name in names:
        make(name / "x", data=b"x")
        name.chmod(0o777)  # whoever owns it, it may be moved

    def trick() -> None:
        for name in names:
            os.rename(name, aside / "away")
            os.symlink(victim, name)
            os.unlink(name)
            os.rename(aside / "away", name)

    with attacker(PILOT, trick):
        for _ in range(RACES):
            give(scratch)
            give(scratch, PAYLOAD, PILOT)
    assert (owner(victim), owner(victim / "file")) == (PILOT, PILOT)


def test_a_file_exchanged_for_a_hard_link_under_our_hands_gives_no_file_of_others_away(
    scratch: Path, tmp_path: Path
) -> None:
    victim, aside = make(tmp_path / "victim", OTHER, b"x"), side(tmp_path)
    victim.chmod(0o666)  # so that the kernel allows links to it, fs.protected_hardlinks or not
    scratch.chmod(0o777)
    names = [make(scratch / f"{number}", data=b"") for number in range(NAMES)]

    def trick() -> None:
        for name in names:
            os.link(victim, aside / "new")
            os.rename(aside / "new", name)
            os.close(os.open(aside / "new", os.O_CREAT | os.O_WRONLY))
            os.rename(aside / "new", name)

    with attacker(PILOT, trick):
        for _ in range(RACES):
            give(scratch)
            give(scratch, PAYLOAD, PILOT)
    assert owner(victim) == OTHER


def test_directories_moved_out_under_our_hands_take_nobody_along(scratch: Path, tmp_path: Path) -> None:
    outside = side(tmp_path)
    secret = make(outside / "secret", data=b"pilot's, not lent")
    scratch.chmod(0o777)
    names = [make(scratch / f"{number}") for number in range(NAMES)]
    for name in names:
        make(name / "x", data=b"x")
        name.chmod(0o777)  # whoever owns it, it may be moved

    def trick() -> None:
        for name in names:
            os.rename(name, outside / "away")
            os.rename(outside / "away", name)

    with attacker(PILOT, trick):
        for _ in range(RACES):
            give(scratch)
            give(scratch, PAYLOAD, PILOT)
    assert (owner(outside), owner(secret)) == (0, PILOT)


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """The value of an attribute of acl(5): version 2, then (tag, permissions, uid) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize("back", [False, True])
def test_whom_the_last_owner_let_in_by_a_list_neither_enters_nor_reads_what_the_next_one_makes(
    scratch: Path, *, back: bool
) -> None:
    below = make(scratch / "below")
    file = make(below / "file", data=b"old")
    nobody = 2**32 - 1
    for path, group in ((scratch, 5), (below, 7), (file, 6)):
        rights = [(1, 7, nobody), (2, group, OTHER), (4, 0, nobody), (16, group, nobody), (32, 0, nobody)]
        os.setxattr(path, "system.posix_acl_access", access_list(*rights))
        if path.is_dir():
            os.setxattr(path, "system.posix_acl_default", access_list(*rights))
    if back:
        for path in (file, below, scratch):
            os.chown(path, PAYLOAD, PAYLOAD)
    assert (give_back(scratch) if back else give(scratch)) == []
    assert [os.listxattr(path) for path in (scratch, below, file)] == [[], [], []]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (scratch, below, file)] == [0o700, 0o700, 0o700]
    make(below / "new", PAYLOAD, b"secret")
    for path in (scratch, below, file, below / "new"):
        assert subprocess.run(["cat", path], user=OTHER, group=OTHER, capture_output=True, check=False).returncode


def test_who_stands_in_a_directory_that_all_could_write_cannot_change_what_the_next_owner_makes(scratch: Path) -> None:
    work = make(scratch / "work", PAYLOAD)
    make(work / "script", PAYLOAD, b"old").chmod(0o777)
    work.chmod(0o777)
    os.chown(scratch, PAYLOAD, PAYLOAD)
    inside = os.open(work, os.O_PATH | os.O_DIRECTORY)  # as a process of the last owner's would have kept it
    assert give_back(scratch) == []
    assert give(scratch) == []
    for tried in ("echo new >>script", "mv script away", "echo mine >another"):
        done = subprocess.run(
            ["sh", "-c", tried], user=OTHER, group=OTHER, check=False, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.fchdir(inside),
        )  # fmt: skip
        assert done.returncode, tried
    os.close(inside)


def test_of_a_directory_too_large_to_be_given_back_in_time_the_pilot_can_at_least_go_in(scratch: Path) -> None:
    make(scratch / "result", PAYLOAD, b"42")
    os.chown(scratch, PAYLOAD, PAYLOAD)
    assert give(scratch, PAYLOAD, PILOT, 0, directory_last=True) == [(".", "not reached in time")]
    assert (owner(scratch), owner(scratch / "result")) == (PILOT, PAYLOAD)


def test_the_pilot_can_go_in_also_where_who_gave_the_rest_back_was_killed(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(scratch, PAYLOAD, PAYLOAD)
    monkeypatch.setattr(change_owner, "refuse_late", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert give_back(scratch) == [(".", "not reached in time")]
    assert owner(scratch) == PILOT
