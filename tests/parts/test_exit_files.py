"""The files of processes that have ended, when nobody collects them: many of them hold up neither the agent nor a question."""

from __future__ import annotations

import os
import resource
import tracemalloc
from pathlib import Path

import pytest

from gridwarden import exit_lines
from gridwarden.accounting.fresh_exits import FreshExits
from gridwarden.hooks.agent import exit_spool
from gridwarden.hooks.agent.exit_spool import Spool
from gridwarden.hooks.agent.subordinate import Owners

HEADING = exit_lines.heading("n1", "site", "boot")
END, START = 1_795_000_000_000_000, 1_794_999_000_000_000


def line(pid: int, parent: int, seq: int = 1) -> bytes:
    numbers = (seq, END, START, pid, parent, 61000, 61000, 5000, 4000, 0, 0, 1)
    return exit_lines.line(numbers, "slurm", "7", exit_lines.GROUP, b"a\tb\nc")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "exits"
    directory.mkdir(mode=0o700)
    return directory


def spool_of(directory: Path, recorded: list[str]) -> Spool:
    return Spool(str(directory), HEADING, lambda _kind, fields: recorded.append(str(fields["file"])), 0)


def leave(directory: Path, count: int) -> list[str]:
    names = [f"{number:020d}{exit_lines.SUFFIX}" for number in range(1, count + 1)]
    for name in names:
        (directory / name).write_bytes(HEADING + line(5, 4))
    return names


def test_whatever_an_agent_before_left_does_not_hold_up_the_next_one_and_is_recorded_by_and_by(directory, monkeypatch):
    monkeypatch.setattr(exit_spool, "RECORDING_SECONDS", 0.0)
    names = leave(directory, 30)
    (directory / exit_lines.CURRENT).write_bytes(HEADING + line(6, 4))
    recorded: list[str] = []
    spool = spool_of(directory, recorded)
    assert recorded == []
    (directory / names[2]).unlink()  # collected meanwhile
    for tick in range(40):
        spool.on_tick(tick)
        assert len(recorded) <= tick + 1
    assert recorded[:29] == [*names[:2], *names[3:]]
    assert len(recorded) == 30
    assert recorded[29] > names[-1]
    spool.close()


def test_a_file_that_cannot_be_read_is_said_and_keeps_no_other_from_being_recorded(directory):
    names = leave(directory, 3)
    (directory / names[1]).unlink()
    (directory / names[1]).symlink_to("/etc/passwd")
    recorded: list[str] = []
    spool = spool_of(directory, recorded)
    for tick in range(3):
        spool.on_tick(tick)
    assert recorded == [names[0], names[2]]
    assert (spool.lost, names[1] in spool.why) == (1, True)
    spool.close()


def test_while_nobody_collects_there_come_no_more_files_every_few_minutes_but_lines_go_on(directory, monkeypatch):
    monkeypatch.setattr(exit_spool, "MOST_FILES", 3)
    recorded: list[str] = []
    spool = spool_of(directory, recorded)
    for number in range(10):
        spool.add(lambda seq: line(5, 4, seq))
        spool.on_tick(exit_spool.COMPLETE_SECONDS * 1e6 * (number + 1))
    assert len(recorded) == 3
    assert spool.lost == 0
    (directory / recorded[0]).unlink()
    spool.on_tick(exit_spool.COMPLETE_SECONDS * 1e9)
    assert len(recorded) == 4
    assert (directory / recorded[3]).read_bytes().count(b"\n") == 1 + 7
    monkeypatch.setattr(exit_spool, "COMPLETE_BYTES", 100)
    spool.add(lambda seq: line(5, 4, seq))
    spool.on_tick(0)
    assert len(recorded) == 5, "one that is large is completed however many wait"
    spool.close()


def test_whoever_asks_of_many_processes_reads_the_files_once_and_misses_none(directory):
    count = 500
    for file in range(5):
        lines = [line(pid, pid // 2, pid) for pid in range(1000 + file, 1000 + count, 5)]
        name = exit_lines.CURRENT if file == 4 else f"{file:020d}{exit_lines.SUFFIX}"
        (directory / name).write_bytes(HEADING + b"".join(lines))
    with (directory / exit_lines.CURRENT).open("ab") as file:
        file.write(b"1\t2\t3\t1001\t500\tgarbled\n" + line(9999, 1)[:-5])  # not wholly written yet
    fresh = FreshExits(directory)
    (found,) = fresh.of_pid(1234)
    assert (found.pid, found.parent, found.node, found.cluster, found.job) == (1234, 617, "n1", "site", "7")
    assert (found.start, found.end, found.exact, found.command) == (START, END, 1, "a\tb\nc")
    for path in directory.iterdir():
        path.unlink()  # as a collector does; whoever asks has read them
    assert [len(fresh.of_pid(pid)) for pid in range(999, 1000 + count + 1)] == [0, *[1] * count, 0]
    assert sorted(each.pid for each in fresh.of_parent(617)) == [1234, 1235]
    assert fresh.of_parent(1) == fresh.of_pid(9999) == fresh.of_pid(0) == []


def test_whoever_asks_holds_numbers_and_not_the_files_that_a_user_filled(directory):
    for file in range(4):
        lines = [line(pid, 1, pid) for pid in range(file, 40_000, 4)]
        (directory / f"{file:020d}{exit_lines.SUFFIX}").write_bytes(HEADING + b"".join(lines))
    tracemalloc.start()
    try:
        fresh = FreshExits(directory)
        assert [each.pid for each in fresh.of_pid(1234)] == [1234]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 40_000 * 30 < sum(path.stat().st_size for path in directory.iterdir()) // 2
    fresh.close()


def test_more_files_than_a_process_may_have_open_are_read_all_the_same(directory):
    names = leave(directory, 300)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        fresh = FreshExits(directory)
        assert len(fresh.of_pid(5)) == len(names)
        fresh.close()
        assert len(os.listdir("/proc/self/fd")) < 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_files_that_are_not_there_or_not_ours_are_no_processes(directory, tmp_path):
    assert FreshExits(tmp_path / "none").of_pid(5) == []
    leave(directory, 1)
    (directory / f"{9:020d}{exit_lines.SUFFIX}").symlink_to(directory / f"{1:020d}{exit_lines.SUFFIX}")
    (directory / f"{8:020d}{exit_lines.SUFFIX}").mkdir()
    assert len(FreshExits(directory).of_pid(5)) == 1
    directory.chmod(0o777)
    assert FreshExits(directory).of_pid(5) == []


def test_all_uids_that_a_user_has_for_user_namespaces_count_as_one_persons(tmp_path):
    file = tmp_path / "subuid"
    owners = Owners(str(file))
    owners.refresh()
    assert owners.of(100_000) == 100_000
    file.write_bytes(b"# odd\nanna:100000:65536\n\xff:300000:10\nbela:165536:65536\n:1:2\nx:y:z\nz:0:\n" + b"n" * 9000)
    owners.refresh()
    assert {owners.of(uid) for uid in (100_000, 100_001, 165_535)} == {"anna"}
    assert owners.of(165_536) == owners.of(231_071) == "bela"
    assert [owners.of(uid) for uid in (99_999, 231_072, 1000, 0)] == [99_999, 231_072, 1000, 0]
    file.write_text("chen:100000:10\n")
    os.utime(file, ns=(1, 1))
    owners.refresh()
    assert (owners.of(100_000), owners.of(100_010)) == ("chen", 100_010)
    file.unlink()
    owners.refresh()
    assert owners.of(100_000) == 100_000
