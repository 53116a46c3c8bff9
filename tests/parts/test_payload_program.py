"""The program and the working directory of a payload: what is judged is what runs, whoever exchanges what meanwhile."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.hooks.pilot import program
from gridwarden.mapper.pilot_values import PilotValues

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs files of several people")
PILOT, OWNER, OTHER = 61051, 61052, 61053
ANY = PilotValues()
PEOPLE = [SimpleNamespace(uid=uid, gid=uid, groups=[uid]) for uid in (PILOT, OWNER)]


@pytest.fixture
def area():
    """A directory of the pilot's below a sticky one, as scratch is."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        os.chown(name, PILOT, PILOT)
        yield Path(name)


def put(path: Path, uid: int = PILOT, mode: int = 0o755, source: str = "/bin/true") -> Path:
    shutil.copyfile(source, path)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def judge(path: Path, values: PilotValues = ANY) -> program.Program:
    here = os.open(path.parent, program.LOOK | os.O_DIRECTORY)
    try:
        opened = program.open_program(os.fsencode(path), here, PEOPLE)
    finally:
        os.close(here)
    try:
        program.judge_program(opened, {PILOT, OWNER}, values)
    except Refused:
        os.close(opened.descriptor)
        raise
    return opened


def run(opened: program.Program) -> int:
    child = os.fork()
    if child == 0:
        os.execve(opened.descriptor, ["x"], {})  # noqa: S606 - no shell is the point
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("uid", [0, PILOT, OWNER])
def test_what_the_pilot_the_owner_or_root_wrote_may_run(area: Path, uid: int) -> None:
    assert run(judge(put(area / "program", uid))) == 0


def test_a_file_that_is_put_in_the_place_of_the_judged_one_does_not_run(area: Path) -> None:
    opened = judge(put(area / "program"))
    os.replace(put(area / "other", source="/bin/false"), area / "program")
    assert run(opened) == 0


def test_a_link_that_is_turned_to_another_program_does_not_lead_there(area: Path) -> None:
    put(area / "good")
    put(area / "bad", source="/bin/false")
    (area / "link").symlink_to("good")
    opened = judge(area / "link")
    (area / "link").unlink()
    (area / "link").symlink_to("bad")
    assert run(opened) == 0 and opened.path == os.fsencode(area / "good")


def test_no_exchange_under_our_hands_lets_anothers_program_pass(area: Path) -> None:
    """Somebody turns a link between a good program and one that others can write, as fast as they can."""
    put(area / "good")
    put(area / "bad", mode=0o777)
    flip = f"""
import os
os.chdir({str(area)!r})
while True:
    for name in ("good", "bad"):
        os.symlink(name, "new"); os.rename("new", "link")
"""
    (area / "link").symlink_to("good")
    with subprocess.Popen([sys.executable, "-c", flip]) as flipping:
        try:
            outcomes = set()
            deadline = time.monotonic() + 60
            for turn in itertools.count():  # until both were met: with one CPU the other may have its turn late
                if turn > 2000 and (len(outcomes) > 1 or time.monotonic() > deadline):
                    break
                try:
                    opened = judge(area / "link")
                except Refused as refusal:
                    outcomes.add(refusal.reason)
                else:
                    outcomes.add("runs")
                    assert stat.S_IMODE(os.fstat(opened.descriptor).st_mode) == 0o755
                    assert os.path.basename(opened.path) == b"good"
                    os.close(opened.descriptor)
        finally:
            flipping.kill()
    assert outcomes <= {"runs", reasons.PROGRAM_WRITABLE, reasons.PROGRAM_MISSING}
    assert {"runs", reasons.PROGRAM_WRITABLE} <= outcomes


def test_a_program_that_was_taken_away_before_it_was_judged_is_refused(area: Path) -> None:
    path = put(area / "program")
    opened = program.open_program(os.fsencode(path), os.open(area, program.LOOK), PEOPLE)
    path.unlink()
    with pytest.raises(Refused, match=reasons.PROGRAM_WRITABLE):
        program.judge_program(opened, {PILOT}, ANY)


@pytest.mark.parametrize(
    ("mode", "uid", "reason"),
    [
        (0o4755, PILOT, reasons.PROGRAM_SETUID),
        (0o2755, PILOT, reasons.PROGRAM_SETUID),
        (0o775, PILOT, reasons.PROGRAM_WRITABLE),
        (0o757, PILOT, reasons.PROGRAM_WRITABLE),
        (0o755, OTHER, reasons.PROGRAM_OTHERS),
        (0o644, PILOT, reasons.PROGRAM_NOT_EXECUTABLE),
    ],
)
def test_a_program_that_others_decide_about_does_not_run(area: Path, mode: int, uid: int, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        judge(put(area / "program", uid, mode))


def test_a_program_with_capabilities_of_its_own_does_not_run(area: Path) -> None:
    path = put(area / "program")
    # Version 2, cap_net_raw permitted (linux/capability.h, struct vfs_cap_data).
    os.setxattr(path, "security.capability", bytes.fromhex("0000000200200000000000000000000000000000"))
    with pytest.raises(Refused, match=reasons.PROGRAM_SETUID):
        judge(path)


@pytest.mark.parametrize(
    ("mode", "uid", "reason"), [(0o777, PILOT, reasons.PROGRAM_WRITABLE), (0o755, OTHER, reasons.PROGRAM_OTHERS)]
)
def test_a_directory_above_a_program_counts_as_the_program(area: Path, mode: int, uid: int, reason: str) -> None:
    (area / "bin").mkdir()
    put(area / "bin/program")
    (area / "bin").chmod(mode)
    os.chown(area / "bin", uid, uid)
    with pytest.raises(Refused, match=reason):
        judge(area / "bin/program")


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3)), os.mkdir]
)
def test_what_is_no_file_is_not_waited_for(area: Path, make: object) -> None:
    make(area / "odd")
    with pytest.raises(Refused, match=reasons.PROGRAM_NOT_EXECUTABLE):
        judge(area / "odd")


def test_what_nobody_can_execute_is_not_read_as_root(area: Path) -> None:
    put(area / "log")
    (area / "log").chmod(0o600)
    os.utime(area / "log", (0, 0))
    with pytest.raises(Refused, match=reasons.PROGRAM_NOT_EXECUTABLE):
        judge(area / "log")
    assert (area / "log").stat().st_atime == 0


def test_a_programs_real_path_is_compared_with_the_sites_patterns(area: Path) -> None:
    put(area / "program")
    (area / "link").symlink_to("program")
    assert judge(area / "link", ANY._replace(programs=(f"{area}/program",))).path == os.fsencode(area / "program")
    with pytest.raises(Refused, match=reasons.PROGRAM_NOT_ALLOWED):
        judge(area / "link", ANY._replace(programs=(f"{area}/link", "/usr/*")))


@pytest.mark.parametrize(
    ("mode", "uid", "reason"),
    [
        (0o755, OTHER, reasons.DIRECTORY_OTHERS),
        (0o775, PILOT, reasons.DIRECTORY_WRITABLE),
        (0o757, PILOT, reasons.DIRECTORY_WRITABLE),
        (0o1777, 0, reasons.DIRECTORY_WRITABLE),
    ],
)
def test_a_working_directory_that_others_decide_about_is_refused(area: Path, mode: int, uid: int, reason: str) -> None:
    (area / "work").mkdir()
    os.chown(area / "work", uid, uid)
    (area / "work").chmod(mode)
    with pytest.raises(Refused, match=reason):
        program.judge_directory(os.open(area / "work", program.LOOK), {PILOT, OWNER})


def test_a_working_directory_is_the_one_that_was_opened_whatever_takes_its_name(
    area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (area / "work").mkdir()
    os.chown(area / "work", PILOT, PILOT)
    monkeypatch.chdir(area / "work")
    directory = program.open_directory()
    (area / "work").rename(area / "moved")
    (area / "work").mkdir(mode=0o777)
    program.judge_directory(directory, {PILOT})
    assert os.readlink(f"/proc/self/fd/{directory}") == str(area / "moved")


def test_a_working_directory_that_is_gone_is_refused(area: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (area / "work").mkdir()
    monkeypatch.chdir(area / "work")
    (area / "work").rmdir()
    with pytest.raises(Refused, match=reasons.DIRECTORY_UNUSABLE):
        program.open_directory()


def test_root_is_not_sent_where_neither_pilot_nor_owner_may_go(area: Path) -> None:
    """A program that may be executed may be read, so one that only a directory hides would be hidden no longer."""
    (area / "hidden").mkdir(mode=0o700)
    put(area / "hidden/program", 0)
    os.chown(area / "hidden", 0, 0)
    with pytest.raises(Refused, match=reasons.PROGRAM_MISSING):
        judge(area / "hidden/program")
    assert (os.geteuid(), os.getegid()) == (0, 0)
    for uid in (PILOT, OWNER):
        os.chown(area / "hidden", uid, uid)
        assert run(judge(area / "hidden/program")) == 0


def test_root_s_groups_open_no_way_for_a_pilot(area: Path) -> None:
    (area / "hidden").mkdir()
    put(area / "hidden/program", 0)
    (area / "hidden").chmod(0o750)
    os.chown(area / "hidden", 0, 0)
    groups = os.getgroups()
    with pytest.raises(Refused, match=reasons.PROGRAM_MISSING):
        judge(area / "hidden/program")
    assert os.getgroups() == groups
