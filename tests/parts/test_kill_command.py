"""What gridwarden-prune does about processes that hide from a look, or share a uid with an account: whole runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gridwarden import proc
from tests.killing import kill
from tests.parts.test_prune_command import HELD_UID, JOBS_UID, PRUNE, STRAYS_UID, Node, alive, ended, node

__all__ = ["node"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

OUTSIDER, LENT = 1234, 1_500_000
PYTHON = [os.path.realpath(sys.executable), "-ISc"]
HOP = """
import os, sys
uid = int(sys.argv[1])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
os.setsid()
while True:
    if os.fork():
        os._exit(0)"""
KEEP = (
    "import os, sys, time; os.setgroups([]); os.setresuid(*map(int, sys.argv[1:])); print(flush=True); time.sleep(600)"
)


def hop(uid: int) -> None:
    """Start a process that does nothing but fork and end."""
    subprocess.run([*PYTHON, HOP, str(uid)], check=True, cwd="/")
    time.sleep(0.05)


def keep(real: int, effective: int, saved: int) -> subprocess.Popen[bytes]:
    """Start a process with these uids."""
    process = subprocess.Popen([*PYTHON, KEEP, str(real), str(effective), str(saved)], stdout=subprocess.PIPE, cwd="/")
    process.stdout.readline()
    return process


@pytest.mark.parametrize("uid", [STRAYS_UID, JOBS_UID])
def test_who_only_forks_and_ends_is_reported_by_the_first_run_that_may_not_kill_and_dead_after_one_that_may(
    node: Node, uid: int
) -> None:
    job = node.payload()
    try:
        for _ in range(3):
            hop(uid)
            code, output, _ = node.prune("--dry-run")
            assert (code, "would kill" in output) == (1, True)
            before = len(node.records("kill"))
            assert node.prune()[0] == 0
            assert {process.pid for process in proc.owned_by(uid)} <= set(job)
            assert len(node.records("kill")) > before
            assert node.records("gap") == []
        assert alive(job)
    finally:
        kill(*(process.pid for process in proc.owned_by(STRAYS_UID)))


def test_where_nobody_can_be_halted_a_run_that_may_have_missed_somebody_says_so(node: Node) -> None:
    hop(STRAYS_UID)
    words = ["setpriv", "--bounding-set=-sys_nice", *PRUNE[3:], "--node-file", str(node.base / "node"), "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "processes that no look saw" in done.stdout or "would kill" in done.stdout
    assert node.prune()[0] == 0


def test_people_and_roots_daemons_that_keep_an_accounts_uid_live_while_its_strays_die(node: Node) -> None:
    others = [keep(0, 0, STRAYS_UID), keep(OUTSIDER, OUTSIDER, STRAYS_UID), keep(OUTSIDER, STRAYS_UID, OUTSIDER)]
    try:
        stray = node.run(STRAYS_UID)
        hop(STRAYS_UID)
        assert node.prune()[0] == 0
        assert ended(stray)
        left = {process.pid for process in proc.owned_by(STRAYS_UID)}
        assert left == {process.pid for process in others}
        assert [process.poll() for process in others] == [None] * 3
    finally:
        for process in others:
            process.kill()
            process.wait()


FLIP = """
import os, sys
one, other = map(int, sys.argv[1:])
os.setgroups([]); os.setresuid(one, other, other)
print(flush=True)
while True:
    os.setresuid(other, one, one); os.setresuid(one, other, other)"""


@pytest.mark.parametrize("other", [HELD_UID, OUTSIDER])
def test_who_takes_two_uids_in_turn_is_dead_or_the_run_says_that_it_is_not(node: Node, other: int) -> None:
    for _ in range(5):
        words = [*PYTHON, FLIP, str(STRAYS_UID), str(other)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, cwd="/") as process:
            process.stdout.readline()
            code, output, _ = node.prune("--all")
            spared = "outsider" in output
            lives = process.poll() is None
            process.kill()
        assert code == 1 or not lives or spared, output


def test_one_accounts_live_job_that_kept_anothers_uid_lives_while_that_one_is_emptied(node: Node) -> None:
    inside = node.payload()[0]
    stray = node.run(HELD_UID)
    other = keep(JOBS_UID, JOBS_UID, HELD_UID)  # as a set-uid program of the one leaves it, run by the other
    try:
        node.prune()
        assert ended(stray)
        assert other.wait(60) == -signal.SIGKILL, "it is a stray of its own account, killed as that"
        assert {record["pid"]: record["account"] for record in node.records("kill")} == {
            stray.pid: str(HELD_UID), other.pid: str(JOBS_UID),
        }  # fmt: skip
        assert alive([inside])
    finally:
        other.kill()


def prune_with(node: Node, subuid: str) -> tuple[int, str]:
    """Run gridwarden-prune where /etc/subuid has this text."""
    etc = node.base / "etc"
    shutil.rmtree(etc, ignore_errors=True)
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    (etc / "subuid").write_text(subuid)
    (etc / "subuid").chmod(0o644)
    script = 'mount --bind "$0" /etc && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, str(etc), *PRUNE, "--node-file", str(node.base / "node")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr.count("\n") < 2, done.stderr
    return done.returncode, done.stdout


def test_a_uid_that_is_lent_to_an_account_is_no_place_to_hide_outside_of_a_user_namespace(node: Node) -> None:
    escaped = keep(LENT + 1, LENT + 1, LENT + 1)
    hop(LENT + 2)
    beside = keep(LENT + 65536, LENT + 65536, LENT + 65536)
    try:
        code, _ = prune_with(node, f"{JOBS_UID}:{LENT}:65536\n{OUTSIDER}:{LENT + 65536}:65536\n")
        assert code == 0
        assert escaped.wait(60) == -signal.SIGKILL
        assert proc.owned_by(LENT + 2) == []
        assert beside.poll() is None
        kills = node.records("kill")
        assert {(kill["account"], kill["uid"], kill["why"]) for kill in kills} == {
            (str(JOBS_UID), JOBS_UID, "left-its-job")
        }
        assert escaped.pid in {kill["pid"] for kill in kills}
        assert alive(node.payload())
    finally:
        for process in (escaped, beside):
            process.kill()
            process.wait()


@pytest.mark.parametrize("subuid", [f"{STRAYS_UID}:1:4000000", f"{STRAYS_UID}:{LENT}:65536\n{HELD_UID}:{LENT}:65536\n"])
def test_a_uid_that_is_lent_to_two_or_is_the_systems_dies_for_nobody_and_the_run_says_so(
    node: Node, subuid: str
) -> None:
    process = keep(LENT + 1, LENT + 1, LENT + 1)
    try:
        code, output = prune_with(node, subuid)
        assert code == 1
        assert "in /etc/subuid" in output
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_kill_record_says_which_signal_ended_the_process(node: Node) -> None:
    node.configure(prune_term_seconds="1")
    ready = node.scratch / "ready"
    polite = node.run(STRAYS_UID)
    deaf = node.run(STRAYS_UID, "sh", "-c", f"trap '' TERM; echo > {ready}; while :; do sleep 0.1; done")
    while not ready.exists():
        time.sleep(0.01)
    node.prune()
    assert polite.wait(60) == -signal.SIGTERM
    assert ended(deaf)
    sent = {record["pid"]: record["signal"] for record in node.records("kill")}
    assert (sent[polite.pid], sent[deaf.pid]) == (signal.SIGTERM, signal.SIGKILL)
