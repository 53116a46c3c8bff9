"""What a child of ours is asked comes back, and so does why it failed, whoever holds our standard streams."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gridwarden import become, child, locks
from gridwarden.hooks.slurm import deadline

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_STREAMS = """
import os
os.closerange(0, 3)
from gridwarden import child
os._exit(child.ask(lambda: "told", 10) != "told")
"""


def test_why_a_child_failed_is_printed_by_whoever_started_it(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_: int) -> None:
        raise ValueError("no\nsense")

    assert child.run(fail, 10) == (b"", False)
    assert capfd.readouterr().err == f"gridwarden: as uid {os.getuid()}: ValueError('no\\nsense')\n"


def test_who_reads_no_error_output_holds_nobody_up_when_a_child_fails() -> None:
    """A pilot's own pipe is the launcher's, which can hold an account's lock when a child of it fails."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    work = "from gridwarden import child; print(child.run(lambda _: 1 / 0, 5)[1])"
    done = subprocess.run(
        [sys.executable, "-c", work], stdout=subprocess.PIPE, stderr=writing, text=True, check=True, timeout=20
    )
    os.close(reading)
    os.close(writing)
    assert done.stdout == "False\n"


def test_nobody_waits_for_the_output_of_a_child(capfd: pytest.CaptureFixture[str]) -> None:
    def say(report: int) -> None:
        os.write(1, b"said")
        os.write(2, b"said")
        os.write(report, os.read(0, 1) or b"nothing to read")

    assert child.run(say, 10) == (b"nothing to read", True)
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_started_without_standard_streams_gets_its_answers() -> None:
    assert subprocess.run([sys.executable, "-c", WITHOUT_STREAMS], check=False).returncode == 0


def test_a_child_that_was_stopped_keeps_no_lock_when_a_hooks_own_deadline_ends_the_wait_for_it(tmp_path: Path) -> None:
    """Its account can stop it, and the account's lock was held from then on until that account had no process left."""
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    deadline.arm(0.5)
    with pytest.raises(deadline.Overdue):
        child.run(lambda _: os.kill(os.getpid(), signal.SIGSTOP), 60)
    deadline.disarm()
    os.close(held)
    locks.take(os.open(tmp_path / "lock", os.O_RDWR), "the lock", 5)


def test_whoever_stops_a_child_of_ours_does_not_cost_us_all_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOOK_SECONDS", 0.05, raising=False)
    deadline.arm(10)
    assert child.run(lambda _: os.kill(os.getpid(), signal.SIGSTOP), 60) == (b"", False)
    deadline.disarm()


def test_a_child_that_was_stopped_with_us_goes_on_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOOK_SECONDS", 1.0, raising=False)

    def stand_still_for_a_moment(report: int) -> None:
        itself = os.getpid()
        if os.fork() == 0:
            time.sleep(1.2)  # after the first look, and long before the second
            os.kill(itself, signal.SIGCONT)
            os._exit(0)
        os.kill(itself, signal.SIGSTOP)
        os.write(report, b"done")

    assert child.run(stand_still_for_a_moment, 60) == (b"done", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an account: needs root")
def test_what_works_as_an_account_ends_with_a_parent_that_is_killed() -> None:
    """It has its parent's locks, and the account can stop it for as long as it likes."""
    told, telling = os.pipe()
    parent = os.fork()
    if parent == 0:

        def stand_still(_: int) -> None:
            os.write(telling, b"%d\n" % os.getpid())
            os.kill(os.getpid(), signal.SIGSTOP)

        become.as_account(61099, 61099, [], stand_still, 60)
        os._exit(1)
    working = os.pidfd_open(int(os.read(told, 100)))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        assert select.select([working], [], [], 60)[0], "it lives on"
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(working, signal.SIGKILL)
