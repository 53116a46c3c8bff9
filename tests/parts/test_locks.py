"""Locks that somebody holds: nobody waits for one without end, and whoever was stopped with one is let go on."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import chain, ledger, lock_holders, locks, proc, register
from gridwarden.errors import EvidenceError, Unavailable
from gridwarden.hooks.pilot import control_group

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import fcntl, os, signal, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
going_on = []
signal.signal(signal.SIGCONT, lambda *_: going_on.append(1))
print("held", flush=True)
while sys.argv[4] == "stopped" and not going_on:
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
os.close(lock)
time.sleep(float(sys.argv[3]))
"""
FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@contextmanager
def holder(path: Path, seconds: float = 0, stays: float = 0) -> Iterator[subprocess.Popen[str]]:
    """Somebody who holds a lock for a while, by default until 0.2 s after a stop, stays for a while, and then ends."""
    until = "seconds" if seconds else "stopped"
    command = [sys.executable, "-c", HOLD, path, str(seconds or 0.2), str(stays), until]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    while (process := proc.read(pid)) and process.state not in "TZ":
        pass


def append(directory: Path) -> tuple[int, str]:
    fields = {"what": "w", "reason": "r", "bytes": None, "sha256": None}
    return ledger.append(directory, "gap", fields, node="n", cluster="c")


def test_a_record_is_written_though_a_pilot_has_stopped_who_holds_the_ledgers_lock(directory: Path) -> None:
    with holder(directory / "lock") as held:
        stop(held.pid)
        assert append(directory)[0] == 1
        assert held.wait() == 0, "it was let go on, and ended by itself"


def test_an_account_is_seen_to_though_a_pilot_has_stopped_who_holds_its_lock(directory: Path) -> None:
    with holder(directory / "cms001") as held:
        stop(held.pid)
        with register.AccountLock(directory, "cms001", 20):
            assert held.wait() == 0


def test_a_holder_that_is_stopped_again_and_again_is_let_go_on_each_time(directory: Path) -> None:
    with holder(directory / "lock") as held:
        stopper = os.fork()
        if stopper == 0:
            for _ in range(4):
                stop(held.pid)
                while (process := proc.read(held.pid)) and process.state == "T":
                    time.sleep(0.001)
            os._exit(0)
        assert append(directory)[0] == 1
        os.kill(stopper, signal.SIGKILL)
        os.waitpid(stopper, 0)


def test_a_record_that_cannot_be_made_in_time_says_who_holds_the_ledgers_lock(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.3)
    with holder(directory / "lock", 600) as held:
        told = (
            rf"the gap record could not be written: {directory}/lock: .* held for 0.3 s, by process {held.pid} \(python"
        )
        with pytest.raises(EvidenceError, match=told):
            append(directory)
        with pytest.raises(Unavailable, match=f"process {held.pid} "):
            list(chain.read(directory))
    assert append(directory)[0] == 1


def test_of_many_who_write_at_once_each_record_is_there_and_the_chain_is_whole(directory: Path) -> None:
    writers = []
    for _ in range(40):
        writer = os.fork()
        if writer == 0:
            for _ in range(10):
                append(directory)
            os._exit(0)
        writers.append(writer)
    assert {os.waitpid(writer, 0)[1] for writer in writers} == {0}
    lines = list(chain.read(directory))
    assert [line.seq for line in lines] == list(range(1, 401))
    assert not any(line.fault for line in lines)


def test_a_lock_that_only_a_child_of_its_dead_holder_has_is_waited_for_no_longer_than_said(directory: Path) -> None:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    ends, until = os.pipe()
    leaving = os.fork()
    if leaving == 0:
        fcntl.flock(os.open(directory / "lock", os.O_RDWR), fcntl.LOCK_EX)
        if os.fork():
            os._exit(0)
        os.close(until)
        os.read(ends, 1)  # until the test has ended, however
        os._exit(0)
    os.close(ends)
    os.waitpid(leaving, 0)
    with pytest.raises(Unavailable, match=r"held for 0\.2 s"):
        locks.take(descriptor, "it", 0.2)
    os.close(until)
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups are root's")
@pytest.mark.parametrize("version", [1, 2])
def test_a_holder_that_slurm_has_frozen_with_its_job_is_let_go_on_and_frozen_again(
    directory: Path, version: int
) -> None:
    """Slurm's proctrack/cgroup freezes the job's group for SIGSTOP, and no signal wakes who is in it."""
    group = control_group.make(os.urandom(16).hex()) if version == 2 else None
    path = Path(group.path) if group else FREEZER / f"gridwarden-test-{os.getpid()}"
    if version == 1 and FREEZER.exists():
        path.mkdir()
    if not path.exists():
        pytest.skip(f"no control group of version {version} can be made here")
    freezer, frozen, thawed = ("cgroup.freeze", "1", "0") if version == 2 else ("freezer.state", "FROZEN", "THAWED")
    with holder(directory / "lock", 1, stays=600) as held:
        bystander = subprocess.Popen(["sleep", "600"])
        for pid in (held.pid, bystander.pid):
            (path / "cgroup.procs").write_text(str(pid))
        (path / freezer).write_text(frozen)
        try:
            before = time.monotonic()
            assert append(directory)[0] == 1
            assert time.monotonic() - before < ledger.LOCK_SECONDS
            assert set((path / "cgroup.procs").read_text().split()) == {str(held.pid), str(bystander.pid)}
            assert frozen in (path / freezer).read_text()
        finally:
            (path / freezer).write_text(thawed)
            for process in (bystander, held):
                process.kill()
                process.wait()
            path.rmdir()


PRETEND = """
import fcntl, os, subprocess, sys, time
ours, theirs = sys.argv[1:]
for directory in (ours, theirs):
    os.mkdir(directory)
    subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=True)
lock, other = (os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT) for directory in (ours, theirs))
os.dup2(os.open(f"{ours}/lock", os.O_PATH), 200)
os.close(lock)
fcntl.flock(other, fcntl.LOCK_EX)  # each has the first number of its file system
print(os.fstat(other).st_ino == os.stat(200).st_ino, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
def test_who_has_locked_a_file_of_that_number_elsewhere_is_no_holder_to_be_let_go_on(directory: Path) -> None:
    """Any user can make one, on a file system of their own, and open root's lock without a right to it (O_PATH)."""
    command = ["unshare", "--mount", sys.executable, "-c", PRETEND, f"{directory}/ours", f"{directory}/theirs"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "True\n"
        stop(process.pid)
        descriptor = os.open(f"/proc/{process.pid}/fd/200", os.O_RDWR)
        holders = lock_holders.Holders(descriptor)
        assert holders.named() == ""
        holders.let_go_on()
        assert (seen := proc.read(process.pid)) and seen.state == "T"
        os.close(descriptor)
    finally:
        process.kill()
        process.wait()
