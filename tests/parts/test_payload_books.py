"""A payload's books, kept to the end whoever is killed: its guard closes them when its launcher can no more."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import chain, node_file, payloads, register
from gridwarden.hooks.pilot import begin_end
from gridwarden.prune import payload_recovery
from tests.payload import GID, UID, Chain, is_gone, python, service, start, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

ACCOUNT, PILOT = "gwt52", 61043
SECOND = 1_000_000
BURN = "while time.process_time() < 0.5: pass\ntell('burnt')\n"


class Books:
    """A node's own directories, and what its ledger says."""

    def __init__(self, base: Path) -> None:
        self.base = base / "node"
        names = ("holders", "locks", "ledger", "holds", "payloads", "register")
        for name in (*names, "spool", "programs"):
            (self.base / name).mkdir(parents=True, mode=0o700)
        values = {name: f"{self.base}/{name}" for name in names}
        values |= {"site": "TEST", "cluster": "site", "pool": "gwt", "prune_batch": "none", "prune_epilog": "no"}
        values |= {"gridmapdir": str(self.base), "gridmapdir_local": "yes", "slurm_programs": "", "slurm_spool": ""}
        values |= {"prolog_on_failure": "record-gap", "epilog_on_failure": "record-gap"}
        node_file.write(self.base / "file", list(values.items()))
        self.site = node_file.read(self.base / "file")

    def start(self, directory: Path, code: str, state: dict[str, Any] | None = None, **asked: Any) -> Chain:
        """A payload of Python, on these books."""
        about = {"cluster": "site", "node": "n1", "account": ACCOUNT, "pilot": "pilot", "pilot_uid": PILOT}
        return start(directory, *python(code), books=str(self.base / "file"), state=about | (state or {}), **asked)

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [line.body for line in chain.read(self.base / "ledger") if line.body["kind"] == kind]

    def end(self) -> dict[str, Any]:
        """The record of the only payload's end, once its books are closed."""
        wait_until(lambda: not os.listdir(self.base / "payloads"), "its state file stays")
        assert register.everything(self.site["register"][0]) == []
        (end,) = self.records("payload_end")
        return end


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_of_a_killed_launcher_the_guard_records_the_end_with_all_that_was_used(tmp_path: Path, books: Books) -> None:
    running = books.start(tmp_path, BURN + "time.sleep(600)").begun()
    running.told_by_payload("burnt")
    os.kill(running.launcher, signal.SIGKILL)
    end = books.end()
    assert 0.5 * SECOND <= end["user"] + end["system"] < 0.8 * SECOND
    assert (end["signal"], end["measured"], end["because"]) == (signal.SIGTERM, "wait4", "the launcher has gone")
    assert end["memory"] > 0
    wait_until(lambda: is_gone(running.guard), "the guard stays")


def test_nobody_else_sees_to_a_payload_while_its_guard_still_ends_it(tmp_path: Path, books: Books) -> None:
    """An epilog or a run of the pruner that came between would record what its processes show, which is less."""
    obstinate = "signal.signal(15, signal.SIG_IGN)\n" + BURN + "time.sleep(600)"
    running = books.start(tmp_path, obstinate, grace_seconds=60).begun()
    running.told_by_payload("burnt")
    os.kill(running.launcher, signal.SIGKILL)
    wait_until(lambda: is_gone(running.launcher), "the launcher stays")
    directory = books.site["payloads"][0]
    wait_until(lambda: payloads.without_launcher(directory) == [], "the guard leads nothing")
    (state,) = payloads.everything(directory)
    assert state.launcher == running.guard, "who asks it to end must know whom to ask"
    assert payload_recovery.recover_all(books.site, begin_end.finish) == []
    assert not is_gone(running.payload), "it has a time of grace"
    os.kill(running.payload, signal.SIGKILL)
    end = books.end()
    assert 0.5 * SECOND <= end["user"] + end["system"] < 0.8 * SECOND


def test_a_guard_that_cannot_keep_the_books_ends_its_payload_and_leaves_them_to_whoever_can(
    tmp_path: Path, books: Books
) -> None:
    running = books.start(tmp_path, BURN + "time.sleep(600)").begun()
    running.told_by_payload("burnt")
    (books.base / "payloads").chmod(0o777)
    os.kill(running.launcher, signal.SIGKILL)
    wait_until(lambda: is_gone(running.guard), "the guard stays")
    assert running.everybody() == []
    (books.base / "payloads").chmod(0o700)
    assert payload_recovery.recover_all(books.site, begin_end.finish) == []
    assert books.end()["because"] == "launcher killed"


def test_a_launcher_that_is_killed_before_its_payload_has_begun_leaves_no_end_without_a_start(
    tmp_path: Path, books: Books
) -> None:
    module = tmp_path / "module"
    module.write_text(
        f'#!/bin/sh\n[ "$PAM_TYPE" = open_session ] || exit 0\necho $PPID >{tmp_path}/phase\nexec sleep 600\n'
    )
    module.chmod(0o755)
    running = books.start(tmp_path, "pass", services=service(f"session required pam_exec.so quiet {module}\n"))
    running.told("phase")
    wait_until(lambda: payloads.everything(books.site["payloads"][0]), "no state")
    (state,) = payloads.everything(books.site["payloads"][0])
    os.kill(state.launcher, signal.SIGKILL)
    wait_until(lambda: is_gone(state.launcher), "the launcher stays")
    wait_until(lambda: payloads.without_launcher(books.site["payloads"][0]), "somebody leads it")
    assert payload_recovery.recover_all(books.site, begin_end.finish) == []
    assert books.records("payload_start") == books.records("payload_end") == []


def slow_to_close(directory: Path) -> dict[str, str]:
    """A PAM service whose session is not closed before the file ``closed`` is in ``directory``."""
    module = directory / "module"
    wait = f"until [ -e {directory}/closed ]; do sleep 0.01; done"
    module.write_text(f'#!/bin/sh\n[ "$PAM_TYPE" = close_session ] || exit 0\n{wait}\n')
    module.chmod(0o755)
    return service(f"session required pam_exec.so quiet {module}\n")


def test_an_end_is_on_record_as_soon_as_the_payload_and_all_it_left_have_gone(tmp_path: Path, books: Books) -> None:
    """PAM may take half a minute to close the session, and the launcher be killed meanwhile."""
    running = books.start(tmp_path, BURN, services=slow_to_close(tmp_path)).begun()
    wait_until(lambda: books.records("payload_end"), "no record")
    assert not is_gone(running.guard)
    assert register.everything(books.site["register"][0]), "nobody clears its account before the session is closed"
    (tmp_path / "closed").touch()
    assert running.ended()["status"] == 0
    end = books.end()
    assert 0.5 * SECOND <= end["user"] + end["system"] < 0.8 * SECOND
    assert (end["status"], end["because"]) == (0, "")


@pytest.mark.parametrize("what", ["killed", "fails"])
def test_an_end_is_on_record_once_whatever_befalls_the_launcher_right_behind_it(
    tmp_path: Path, books: Books, what: str
) -> None:
    running = books.start(tmp_path, "sys.exit(3)", services=slow_to_close(tmp_path), recorded=what).begun()
    wait_until(lambda: books.records("payload_end"), "no record")
    if what == "killed":
        wait_until(lambda: is_gone(running.launcher), "the launcher lives")
    (tmp_path / "closed").touch()
    end = books.end()
    assert (end["status"], end["because"]) == (3, "")
    wait_until(lambda: is_gone(running.guard), "the guard stays")


def lent(directory: Path) -> dict[str, Any]:
    """What a state file says of a directory that its payload is lent."""
    status = directory.stat()
    facts = {"scratch": str(directory), "scratch_device": status.st_dev, "scratch_inode": status.st_ino}
    return {**facts, "scratch_gid": PILOT}


@pytest.mark.parametrize("killed", [False, True])
def test_a_lent_directory_that_its_payload_has_renamed_is_given_back_all_the_same(
    tmp_path: Path, books: Books, *, killed: bool
) -> None:
    """As it can in a sticky /tmp, where the directory is its own for as long as it has it."""
    sticky = tmp_path / "tmp"
    sticky.mkdir()
    sticky.chmod(0o1777)
    scratch = sticky / "scratch"
    scratch.mkdir()
    os.chown(scratch, UID, GID)
    rename = "os.rename('../scratch', '../elsewhere'); os.mkdir('../scratch')\n"
    made = "open('result', 'w').write('42')\ntell('burnt')\n" + "time.sleep(600)\n" * killed
    running = books.start(tmp_path, rename + made, where=str(scratch), state=lent(scratch))
    running.told("tmp/elsewhere/burnt")
    if killed:
        os.kill(running.begun().launcher, signal.SIGKILL)
    books.end()
    given = [sticky / "elsewhere", sticky / "elsewhere/result"]
    assert {path.stat().st_uid for path in given} == {PILOT}
    assert scratch.stat().st_uid == UID, "that one is the payload's own"
    (gap,) = books.records("gap")
    assert str(sticky / "elsewhere") in gap["reason"]


def test_a_lent_directory_that_has_no_path_any_more_is_given_back_all_the_same(tmp_path: Path, books: Books) -> None:
    sticky = tmp_path / "tmp"
    sticky.mkdir()
    sticky.chmod(0o1777)
    scratch = sticky / "scratch"
    scratch.mkdir()
    os.chown(scratch, UID, GID)
    held = os.open(scratch, os.O_RDONLY)
    code = """
os.mkdir('../own')
place = os.open('../own', 0)
for _ in range(20):
    os.mkdir('d' * 250, dir_fd=place)
    place = os.open('d' * 250, 0, dir_fd=place)
os.rename('../scratch', 'lent', dst_dir_fd=place)
"""
    running = books.start(tmp_path, code, where=str(scratch), state=lent(scratch))
    assert running.ended()["status"] == 0, "it could not move it"
    assert books.end()["because"] == ""
    assert os.fstat(held).st_uid == PILOT
    os.close(held)
    (gap,) = books.records("gap")
    assert "another name" in gap["reason"]


def test_what_a_writer_left_who_was_killed_is_removed_by_the_next_who_clears_up(books: Books) -> None:
    directory = books.base / "payloads"
    old, new = directory / f".{'a' * 32}.{'b' * 16}", directory / f".{'c' * 32}.{'d' * 16}"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    assert payload_recovery.recover_all(books.site) == []
    assert (old.exists(), new.exists()) == (False, True), "somebody may still be writing the other"


def test_a_launcher_that_lives_closes_its_books_itself(tmp_path: Path, books: Books) -> None:
    running = books.start(tmp_path, BURN)
    assert json.loads(running.told("ended"))["status"] == 0
    assert books.end()["because"] == ""
