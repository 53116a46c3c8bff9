"""What the two acting modules do without a hook around them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gridwarden.prune import kill, remove
from gridwarden.prune.signals import Uids

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

UID, OTHER_UID = 61003, 61004


def open_to_all(directory: Path) -> None:
    """Let other users reach a directory of pytest's, which keeps its own to root."""
    for parent in (directory, *directory.parents):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)


def test_a_dry_run_says_what_would_go_and_touches_nothing(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", UID, UID)
    with subprocess.Popen(["sleep", "60"], user=UID, group=UID, extra_groups=[], cwd="/") as process:
        try:
            outcome = kill.empty_account(Uids(UID), UID, 1, dry_run=True)
            assert [pid for pid, _ in outcome.killed] == [process.pid]
            assert remove.sweep(UID, UID, [str(tmp_path)], 1, dry_run=True) == ([f"{tmp_path}/file"], [])
            assert process.poll() is None
        finally:
            process.kill()
    assert (tmp_path / "file").exists()


def test_an_account_with_nothing_is_empty_already(tmp_path: Path) -> None:
    outcome = kill.empty_account(Uids(UID), UID, 5)
    assert (outcome.killed, outcome.left) == ({}, [])
    assert remove.sweep(UID, UID, [str(tmp_path), str(tmp_path / "absent")], 5) == ([], [])


def test_a_scratch_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    os.chown(tmp_path / "real" / "file", UID, UID)
    (tmp_path / "link").symlink_to("real")
    removed, left = remove.sweep(UID, UID, [str(tmp_path / "link")], 5)
    assert removed == []
    assert [path for path, _ in left] == [str(tmp_path / "link")]
    assert (tmp_path / "real" / "file").exists()


def test_a_directory_with_another_users_file_in_it_is_reported(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scratch.chmod(0o1777)
    (scratch / "shared" / "of-root").mkdir(parents=True)
    (scratch / "shared" / "of-root" / "file").touch()
    (scratch / "shared" / "own").touch()
    os.chown(scratch / "shared", UID, UID)
    os.chown(scratch / "shared" / "own", UID, UID)
    removed, left = remove.sweep(UID, UID, [str(scratch)], 5)
    assert removed == []
    assert left == [(f"{scratch}/shared", "Operation not permitted")]
    assert not (scratch / "shared" / "own").exists()
    assert (scratch / "shared" / "of-root" / "file").exists()


def test_a_stray_that_stops_whoever_comes_for_it_dies_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of the account that guesses the child's number wins that race whenever it has a CPU to itself.
    monkeypatch.setattr(kill, "_signal_all", lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
    with subprocess.Popen(["sleep", "60"], user=UID, group=UID, extra_groups=[], cwd="/") as stray:
        try:
            kill.empty_account(Uids(UID), UID, 0)
            assert stray.wait(60) == -signal.SIGKILL
        finally:
            stray.kill()


def test_who_borrowed_another_accounts_identity_dies_with_their_own_account_alone() -> None:
    # What a set-uid program of the account lets another account's process become: beyond kill(2) for both.
    code = f"import os, time; os.setresuid({OTHER_UID}, {UID}, {OTHER_UID}); print(flush=True); time.sleep(60)"
    with subprocess.Popen([os.path.realpath(sys.executable), "-Ic", code], stdout=subprocess.PIPE, cwd="/") as stray:
        try:
            stray.stdout.readline()
            outcome = kill.empty_account(Uids(UID), UID, 5)
            assert (outcome.killed, outcome.left, stray.poll()) == ({}, [], None)
            outcome = kill.empty_account(Uids(OTHER_UID), OTHER_UID, 5)
            assert ([pid for pid, _ in outcome.killed], outcome.left) == ([stray.pid], [])
            assert stray.wait(60) == -signal.SIGKILL
        finally:
            stray.kill()
