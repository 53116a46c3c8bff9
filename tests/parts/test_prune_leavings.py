"""What accounts left behind is found and cleared away in time, whatever it is and whatever does not answer."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from gridwarden.errors import ConfigurationError
from gridwarden.prune import clear, files, holds, ipc, remove
from gridwarden.prune.descent import Descent
from gridwarden.prune.recording import Owner, Recorder
from tests.parts.test_prune_command import STRAYS_UID, Node, node
from tests.proof import LONG
from tests.proof.silent import dead_mount

__all__ = ["node"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users: needs root")

needs_fuse = pytest.mark.skipif(
    not os.path.exists("/dev/fuse"), reason="the site has no /dev/fuse: this runs outside it"
)

UID = STRAYS_UID
MANY = 1_000_000 if LONG else 20_000
SECONDS = 10 if LONG else 5  # the shortest that a site may set


@pytest.fixture
def place(node: Node) -> Path:
    """A scratch directory that users can reach."""
    return node.scratch


def test_an_account_of_which_nothing_runs_is_empty_on_a_full_disk_too(tmp_path: Path) -> None:
    owner = Owner("nobody", UID, UID, "cluster")
    recorder = Recorder({"ledger": [str(tmp_path / "none")]}, owner)

    def is_empty() -> bool:
        try:
            outcome = clear.everything(owner, recorder, "", hold="", seconds=SECONDS)
        except ConfigurationError:
            return False  # somebody else was born meanwhile, which might have been one of the account's
        return not (outcome.killed or outcome.left)

    assert any(is_empty() for _ in range(100))


@needs_fuse
def test_a_dead_mount_costs_its_share_of_the_time_and_the_rest_is_cleared_away(node: Node) -> None:
    dead = node.base / "dead"
    dead.mkdir()
    node.configure(prune_scratch_age_hours="0", scratch=str(dead), prune_seconds=str(SECONDS))
    shared = Path("/dev/shm/of-a-stray")
    shared.touch()
    os.chown(shared, UID, UID)
    stray = node.run(UID)
    with dead_mount(dead):
        began = time.monotonic()
        code, output, _ = node.prune()
        took = time.monotonic() - began
    left = shared.exists()
    shared.unlink(missing_ok=True)  # the next run of these tests meets it in the same place
    assert code == 1
    assert f"{dead}" in output
    assert "does not answer" in output
    assert not left
    assert stray.wait(10) == -9
    if LONG:
        assert took < SECONDS + 1


@needs_fuse
def test_a_mount_that_dies_below_a_users_directory_ends_at_the_deadline(node: Node) -> None:
    own = node.scratch / "own"
    (own / "dead").mkdir(parents=True)
    (own / "file").touch()
    for path in (own / "dead", own):
        os.chown(path, UID, UID)
    node.configure(prune_scratch_age_hours="0", prune_seconds=str(SECONDS))
    time.sleep(0.05)
    with dead_mount(own / "dead"):
        code, output, _ = node.prune()
    assert code == 1
    assert f"{own}" in output


@needs_fuse
def test_each_of_an_accounts_directories_has_its_share_of_the_time(place: Path) -> None:
    first, second = place / "a", place / "b"
    for directory in (first, second):
        directory.mkdir()
        directory.chmod(0o1777)
    (first / "own" / "dead").mkdir(parents=True)
    for path in (first / "own" / "dead", first / "own"):
        os.chown(path, UID, UID)
    (second / "file").touch()
    os.chown(second / "file", UID, UID)
    (place / "ledger").mkdir(mode=0o700)
    owner = Owner("gwt1", UID, UID, "site")
    recorder = Recorder({"ledger": [str(place / "ledger")]}, owner)
    found = {str(first): ["own"], str(second): ["file"]}
    with dead_mount(first / "own" / "dead"):
        gone, left = clear.files(owner, recorder, found, time.monotonic() + 2, hold="")
    assert gone == [f"{second}/file"]
    assert [path for path, _ in left] == [f"{first}/own"]


@needs_fuse
def test_a_mount_in_scratch_that_does_not_answer_hides_nobodys_files_and_is_reported(node: Node) -> None:
    dead = node.scratch / "a dead\\ \rone"
    dead.mkdir()
    node.configure(prune_scratch_age_hours="0", prune_seconds=str(SECONDS))
    names = [node.file(f"file {number}", UID) for number in range(9)]
    time.sleep(0.05)
    with dead_mount(dead, UID):
        code, output, _ = node.prune()
        found, left = files.find(lambda _: True, [str(node.scratch)], 5)
        assert left == [(str(dead), f"uid {UID} has mounted something there")]
    assert code == 1
    assert f"uid {UID} has mounted something there" in output
    assert not [name for name in names if name.exists()]
    assert found == {}


@needs_fuse
def test_an_account_whose_files_take_for_ever_leaves_the_others_their_share(node: Node) -> None:
    greedy, others = UID, (UID + 1, UID + 2)
    own = node.scratch / "own"
    (own / "dead").mkdir(parents=True)
    for path in (own / "dead", own):
        os.chown(path, greedy, greedy)
    node.configure(prune_scratch_age_hours="0", prune_seconds=str(SECONDS))
    files = [node.file(f"of-{uid}", uid) for uid in others]
    time.sleep(0.05)
    with dead_mount(own / "dead"):
        code, output, _ = node.prune()
    assert code == 1
    assert f"{own}" in output
    assert not [file for file in files if file.exists()]


def test_more_files_than_there_is_time_for_end_at_the_deadline_with_the_rest_reported(node: Node, place: Path) -> None:
    if LONG:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777,nr_inodes=0", "scratch", str(place)], check=True)
    try:
        make = "import os, sys\nfor i in range(int(sys.argv[2])): os.close(os.open(f'{sys.argv[1]}/{i}', os.O_CREAT))"
        subprocess.run(["/usr/bin/env", "python3", "-c", make, str(place), str(MANY)], user=UID, group=UID, check=True)
        names = [str(number) for number in range(MANY)]
        began = time.monotonic()
        removed, left = remove.remove(UID, UID, str(place), names, began + (SECONDS if LONG else 0.05))
        took = time.monotonic() - began
        unreached = MANY - len(removed) - (len(left) - 1)  # the one that it was at is named, if time ran out in it
        assert left[-1] == (str(place), f"{unreached} files and directories in it were not reached in time")
        assert len(os.listdir(place)) == MANY - len(removed)
        if LONG:
            print(f"\n{len(removed)} of {MANY} files removed in {took:.2f} s, the deadline being {SECONDS} s")
            assert took < SECONDS + 1
    finally:
        if LONG:
            subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not LONG, reason="a million files: make proof")
def test_a_million_files_end_the_whole_run_at_its_deadline_and_each_run_gets_further(node: Node, place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777,nr_inodes=0", "scratch", str(place)], check=True)
    try:
        make = "import os, sys\nfor i in range(int(sys.argv[2])): os.close(os.open(f'{sys.argv[1]}/{i}', os.O_CREAT))"
        subprocess.run(["/usr/bin/env", "python3", "-c", make, str(place), str(MANY)], user=UID, group=UID, check=True)
        node.configure(prune_scratch_age_hours="0", prune_seconds=str(SECONDS))
        others = node.file("of-another", UID + 1)
        there = [MANY + 1]
        for _ in range(3):
            began = time.monotonic()
            code, _, _ = node.prune()
            took = time.monotonic() - began
            there.append(len(os.listdir(place)))
            print(f"\n{there[-2] - there[-1]} of {there[-2]} files removed in a run of {took:.2f} s, exit code {code}")
            assert took < SECONDS + 1
            assert there[-1] < there[-2]
            assert not others.exists(), "who left little does not wait for who left much"
    finally:
        subprocess.run(["umount", str(place)], check=True)


DEEP = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(5000):
    os.mkdir("d"); os.chdir("d")
open("file", "w").close()
"""


def make_deep(place: Path) -> None:
    subprocess.run(["/usr/bin/env", "python3", "-c", DEEP, str(place)], user=UID, group=UID, check=True)


def test_directories_5000_deep_go_when_they_are_old_and_stay_as_long_as_the_deepest_file_is_young(place: Path) -> None:
    make_deep(place)
    now, later = time.time() - 5, time.time() + 5
    soon = time.monotonic() + 60
    assert remove.remove(UID, UID, str(place), ["d"], soon, before=now) == ([], [])
    assert remove.remove(UID, UID, str(place), ["d"], soon, before=later, dry_run=True) == ([f"{place}/d"], [])
    assert remove.remove(UID, UID, str(place), ["d"], soon, before=later) == ([f"{place}/d"], [])
    assert os.listdir(place) == []


def test_a_directory_that_its_owner_closed_does_not_stay_for_ever(place: Path) -> None:
    for mode in (0o000, 0o100, 0o200, 0o400, 0o600):
        path = place / f"{mode:o}"
        (path / "below").mkdir(parents=True)
        for each in (path / "below", path):
            os.chown(each, UID, UID)
        path.chmod(mode)
    names = os.listdir(place)
    removed, left = remove.remove(UID, UID, str(place), names, time.monotonic() + 10, before=time.time() + 5)
    assert (sorted(removed), left) == (sorted(f"{place}/{name}" for name in names), [])


@pytest.mark.parametrize("work", ["age", "removal"])
def test_directories_that_are_moved_while_they_are_looked_at_lead_nowhere_else(
    place: Path, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another user may move what lies in a directory of theirs; here the walk itself does, where it is deepest.
    (place / "a" / "b" / "c").mkdir(parents=True)
    (place / "elsewhere" / "precious").mkdir(parents=True)
    for path in (
        place / "a" / "b" / "c",
        place / "a" / "b",
        place / "a",
        place / "elsewhere",
        place / "elsewhere" / "precious",
    ):
        os.chown(path, UID, UID)
    up = Descent.up

    def moved_first(descent: Descent) -> str:
        if (place / "a" / "b" / "c").exists():
            os.rename(place / "a" / "b" / "c", place / "elsewhere" / "c")
        return up(descent)

    monkeypatch.setattr(Descent, "up", moved_first)
    before = time.time() + 5
    outcome = remove.remove(UID, UID, str(place), ["a"], time.monotonic() + 10, before=before, dry_run=work == "age")
    assert outcome == ([], [(f"{place}/a", "its directories are moved while they are looked at")])
    assert (place / "elsewhere" / "precious").exists()


def test_each_users_files_are_found_in_one_listing_and_nobody_elses(place: Path) -> None:
    for name, uid in (("a", UID), ("b\nc", UID), ("\udcff", UID), ("other", UID + 1), ("root", 0)):
        (place / name).touch()
        os.chown(place / name, uid, uid)
    (place / "link").symlink_to("/etc/passwd")
    os.lchown(place / "link", UID, UID)
    found, left = files.find(lambda uid: uid == UID, [str(place), f"{place}/../scratch", "/nowhere"], 10)
    assert left == []
    assert {uid: sorted(names) for uid, places in found.items() for names in places.values()} == {
        UID: ["a", "b\nc", "link", "\udcff"]
    }


def test_more_names_than_memory_holds_are_counted_and_nobody_elses_are_missed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as names may be: the agent, which does an epilog's work for HTCondor, has 256 MB (its unit)."""
    monkeypatch.setattr(files, "MOST_OF_ONE", 10 * (255 + files.OF_A_NAME))
    for number in range(25):
        name = f"{number:0255d}"
        (place / name).touch()
        os.chown(place / name, UID, UID)
    (place / "other").touch()
    os.chown(place / "other", UID + 1, UID + 1)
    found, left = files.find(lambda _: True, [str(place)], 10)
    assert left == [(str(place), f"holds 15 more of uid {UID} than one run looks at")]
    assert [len(found[uid][str(place)]) for uid in (UID, UID + 1)] == [10, 1]


def test_a_name_that_changes_hands_is_not_taken_from_its_new_owner(place: Path) -> None:
    (place / "name").touch()
    assert remove.remove(UID, UID, str(place), ["name"], time.monotonic() + 5)[1] == [
        (f"{place}/name", "belongs to someone else now")
    ]
    assert holds.quarantine(UID, "gwt1", str(place), ["name"], time.monotonic() + 5)[1] == [
        (f"{place}/name", "belongs to someone else now")
    ]
    assert (place / "name").exists()


SQUATTERS = {
    "directory": lambda path: path.mkdir(mode=0o700),
    "open-to-all": lambda path: path.mkdir(mode=0o777),
    "file": lambda path: path.touch(),
    "link": lambda path: path.symlink_to("/etc"),
    "link-to-root's": lambda path: path.symlink_to("/root"),
    "fifo": os.mkfifo,
}  # fmt: skip


@pytest.mark.parametrize("squat", SQUATTERS)
def test_nobody_bars_the_quarantine_by_taking_its_name_first(place: Path, squat: str) -> None:
    names = [holds.QUARANTINE, *(f"{holds.QUARANTINE}.{number:032x}" for number in range(3))]
    for name in names:
        SQUATTERS[squat](place / name)
        os.lchown(place / name, UID, UID)
    for name in ("first", "second", holds.QUARANTINE):
        if name != holds.QUARANTINE:
            (place / name).touch()
        os.lchown(place / name, UID, UID)
        ((_, into),), left = holds.quarantine(UID, "gwt1", str(place), [name], time.monotonic() + 5)
        assert left == []
        status = Path(into).parent.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o700)
    own = [name for name in os.listdir(place) if name.startswith(holds.QUARANTINE) and name not in names]
    assert len(own) == 1, "all is kept in one place"
    assert len(os.listdir(place / own[0])) == 3
    assert not [name for name in os.listdir("/etc") if name.startswith("gwt1.")]


def test_more_taken_names_than_are_looked_at_bar_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "MOST_LOOKED_AT", 2)
    for name in (holds.QUARANTINE, *(f"{holds.QUARANTINE}.{number}" for number in range(9)), "evidence"):
        (place / name).touch()
        os.chown(place / name, UID, UID)
    assert holds.quarantine(UID, "gwt1", str(place), ["evidence"], time.monotonic() + 5)[1] == []
    assert not (place / "evidence").exists()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_put_back_overwrites_nothing_that_somebody_made_meanwhile(
    place: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    {"file": Path.touch, "link": lambda path: path.symlink_to("x"), "directory": Path.mkdir}[kind](place / "name")
    os.lchown(place / "name", UID, UID)
    rename = os.rename

    def swap_first(old: str, new: str, **at: int) -> None:
        if old == "name":  # its owner gives the name to another's file, and a third one makes a file of that name
            os.lchown(place / "name", UID + 1, UID + 1)
            rename(old, new, **at)
            (place / "name").write_text("a third one's")
        else:
            rename(old, new, **at)

    monkeypatch.setattr(os, "rename", swap_first)
    moved, left = holds.quarantine(UID, "gwt1", str(place), ["name"], time.monotonic() + 5)
    assert (moved, len(left)) == ([], 1)
    assert (place / "name").read_text() == "a third one's"
    assert len(os.listdir(place / holds.QUARANTINE)) == 1, "nothing is lost"


def test_what_is_kept_is_the_thing_itself_not_what_it_leads_to(place: Path) -> None:
    (place / "link").symlink_to("/etc/passwd")
    os.lchown(place / "link", UID, UID)
    ((_, into),), left = holds.quarantine(UID, "gwt1", str(place), ["link"], time.monotonic() + 5)
    assert left == []
    assert Path(into).readlink() == Path("/etc/passwd")


def test_system_v_objects_go_by_their_age(node: Node) -> None:
    made = ["ipcmk", "--shmem", "4096", "--queue", "--semaphore", "1", "--mode", "0600"]
    subprocess.run(made, user=UID, group=UID, check=True, capture_output=True)
    try:
        own = [one for one in ipc.everything() if UID in one.uids]
        assert ipc.remove(UID, UID, 5, before=min(one.used for one in own)) == ([], [])
        node.configure(prune_scratch_age_hours="24")
        assert node.prune()[0] == 0
        assert len([one for one in ipc.everything() if UID in one.uids]) == 3
        node.configure(prune_scratch_age_hours="0")
        time.sleep(1.1)  # their times are whole seconds
        assert node.prune()[0] == 0
        assert [one for one in ipc.everything() if UID in one.uids] == []
    finally:
        ipc.remove(UID, UID, 5)
