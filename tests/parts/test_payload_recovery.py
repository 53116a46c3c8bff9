"""After a launcher and its guard were killed: the payload ends, its record is written, the directory comes back.

The pilot's batch job is a stand-in slurmstepd that adopts orphans, as the real one does; the stories have that.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import chain, node_file, payloads, proc, reasons, register
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.hooks import clean_up
from gridwarden.hooks.agent import started, starter_errands
from gridwarden.hooks.pilot import begin_end
from gridwarden.hooks.slurm import node as slurm_node
from gridwarden.prune import change_owner, payload_end, payload_recovery
from gridwarden.prune.sweep import sweep
from tests.killing import kill
from tests.proof.silent import dead_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

PILOT, ANNA, BELA, FIXED = 61051, 61052, 61053, 61054
ACCOUNTS = {ANNA: "gwt52", BELA: "gwt53", FIXED: "prod54"}  # the last is outside the pools
SECONDS = 60.0
STEP = """
import ctypes, os, socket, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
subprocess.Popen(["sleep", "1000"], user=int(sys.argv[2]), group=int(sys.argv[2]), extra_groups=[], cwd="/")
for line in sys.stdin:
    subprocess.Popen(eval(line), stdin=subprocess.DEVNULL)
os.waitpid(-1, 0)
"""
LAUNCHER = """
import ctypes, json, os, sys, time
ctypes.CDLL(None).prctl(36, 1)
from gridwarden import node_file, payloads
from gridwarden.hooks.pilot import begin_end, deliver
site, values, script = node_file.read(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
state = payloads.State(**values)
state, held = begin_end.begin(site, state)
deliver.make_temporary(state.temporary, deliver.Owner(state.uid, state.gid, []))
payload = os.fork()
if payload == 0:
    if state.cgroup:
        open(state.cgroup + "/cgroup.procs", "w").write("0")
    os.setgroups([])
    os.setgid(state.gid)
    os.setuid(state.uid)
    os.execv("/bin/sh", ["sh", "-c", script])
state, held = begin_end.started(site, state, held, payload, state.cgroup)
print(json.dumps([os.getpid(), payload]), file=open(sys.argv[4], "w", buffering=1))
time.sleep(1000)
"""
# A child, one that leaves the session, and one that is an orphan of its own making: what a killed launcher leaves.
FAMILY = "sleep 1001 & setsid sleep 1002 & (setsid sh -c 'sleep 1003 & exec sleep 1004' &); exec sleep 1005"
MEMBERS = 5


class Node:
    """A node with the pilot's Slurm job 9, and gridwarden's own directories."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.outside: list[subprocess.Popen[bytes]] = []
        for name in ("holders", "jobs", "locks", "ledger", "holds", "payloads", "spool/n1", "programs"):
            (base / name).mkdir(parents=True, mode=0o700)
        self.tmp = base / "tmp"
        self.tmp.mkdir()
        self.tmp.chmod(0o1777)
        self.step = subprocess.Popen(
            [sys.executable, "-c", STEP, f"{base}/spool/n1/n1_9.0", str(PILOT)],
            stdin=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        wait_until(lambda: [one for one in proc.owned_by(PILOT) if one.parent == self.step.pid])
        (task,) = [one.pid for one in proc.owned_by(PILOT) if one.parent == self.step.pid]
        self.slurm_says(f"PID JOBID STEPID LOCALID GLOBALID\n{task} 9 0 0 0\n")
        values = {name: f"{base}/{name}" for name in ("holders", "locks", "ledger", "holds", "payloads")}
        values |= {
            "site": "TEST",
            "cluster": "site",
            "pool": "gwt",
            "register": f"{base}/jobs",
            "gridmapdir": str(base),
            "gridmapdir_local": "yes",
            "scratch": str(self.tmp),
            "slurm_programs": f"{base}/programs",
            "slurm_spool": f"{base}/spool/%n",
            "prolog_on_failure": "record-gap",
            "epilog_on_failure": "record-gap",
            "prune_batch": "slurm",
            "prune_kill": "yes",
            "prune_uids": f"{ANNA}-{BELA}",
        }
        node_file.write(base / "node", list(values.items()))
        self.site = node_file.read(base / "node")

    def slurm_says(self, text: str, code: int = 0) -> None:
        (self.base / "listing").write_text(text)
        program = self.base / "programs/scontrol"
        program.write_text(f"#!/bin/sh\ncat {self.base}/listing\nexit {code}\n")
        program.chmod(0o755)

    def launch(
        self, uid: int = ANNA, script: str = FAMILY, processes: int = MEMBERS, *, in_job: bool = True, **values: Any
    ) -> Launched:
        """Start a launcher in the pilot's job, and wait until its payload has so many processes."""
        payload = values.get("payload") or payloads.new_id()
        told = self.base / f"told.{payload}"
        values = {
            "payload": payload, "cluster": "site", "node": "n1", "start": time.time_ns() // 1000,
            "account": ACCOUNTS[uid], "uid": uid, "gid": uid, "lease": "ab" * 16, "scheme": "x509",
            "subject": f"/CN={uid}", "pilot": "pilot", "pilot_uid": PILOT, "batch": "slurm", "job": "9",
            "temporary": f"{self.tmp}/gridwarden-payload.{payload}", **values,
        }  # fmt: skip
        before = len(proc.owned_by(uid))
        command = [sys.executable, "-c", LAUNCHER, f"{self.base}/node", json.dumps(values), script, str(told)]
        if in_job:
            assert self.step.stdin
            print(repr(command), file=self.step.stdin, flush=True)
        else:
            self.outside.append(subprocess.Popen(command))
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
        wait_until(lambda: len(proc.owned_by(uid)) == before + processes)
        return Launched(payload, *json.loads(told.read_text()))

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [line.body for line in chain.read(self.base / "ledger") if line.body["kind"] == kind]

    def registered(self, uid: int = ANNA) -> list[str]:
        return [entry.job for entry in register.jobs_of(self.base / "jobs", ACCOUNTS[uid])]

    def recover(self) -> list[tuple[str, str]]:
        return payload_recovery.recover_all(self.site, begin_end.finish)

    def close(self) -> None:
        everybody = [one for uid in (PILOT, ANNA, BELA, FIXED) for one in proc.owned_by(uid)]
        below = [one for one in proc.everyone() if one.parent == self.step.pid]
        kill(*(one.pid for one in (*below, *everybody)))
        for process in (self.step, *self.outside):
            process.kill()
            process.wait()


class Launched:
    """A payload, its launcher and its own process."""

    def __init__(self, payload: str, launcher: int, process: int) -> None:
        self.payload = payload
        self.launcher = launcher
        self.process = process

    def kill_launcher(self) -> None:
        """As whoever kills with SIGKILL would: nothing of it is left that could do anything."""
        os.kill(self.launcher, signal.SIGKILL)
        wait_until(lambda: (now := proc.read(self.launcher)) is None or now.has_ended())


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may pass through; pytest's own is closed by each run of pytest anew."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    entry = {name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "/bin/sh")) for uid, name in ACCOUNTS.items()}
    monkeypatch.setattr(clean_up, "pwd", SimpleNamespace(getpwnam=entry.__getitem__))
    found = Node(tmp_path)
    yield found
    found.close()


def test_a_killed_launchers_payload_ends_whatever_it_did_to_get_away(node: Node) -> None:
    launched = node.launch()
    assert node.registered() == [launched.payload]
    launched.kill_launcher()
    assert len(proc.owned_by(ANNA)) == MEMBERS, "nothing else has ended them"
    assert node.recover() == []
    assert proc.owned_by(ANNA) == []
    assert proc.owned_by(PILOT), "the pilot's own processes are somebody else's"
    (end,) = node.records("payload_end")
    wanted = {
        "payload": launched.payload,
        "batch": "slurm",
        "job": "9",
        "account": "gwt52",
        "because": "launcher killed",
    }
    assert wanted.items() <= end.items()
    assert (end["measured"], end["status"], end["signal"]) == ("processes", None, None)
    assert len(node.records("kill")) == MEMBERS
    assert node.registered() == []
    assert os.listdir(node.base / "payloads") == []
    assert os.listdir(node.tmp) == []


def test_what_its_processes_had_used_so_far_is_what_goes_on_record(node: Node) -> None:
    burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exec sleep 1000"
    launched = node.launch(script=burn, processes=1)
    wait_until(lambda: sleeps(proc.owned_by(ANNA)[0]))
    used = proc.owned_by(ANNA)[0].cpu
    launched.kill_launcher()
    node.recover()
    assert used > 0
    assert node.records("payload_end")[0]["user"] == used


def sleeps(process: proc.Process) -> bool:
    """And uses no more CPU time, as it does before it has come so far."""
    return (process.command, process.state) == ("sleep", "S")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A control group of version 2 for one payload, of a hierarchy that is mounted for it."""
    mount = tmp_path / "cgroup"
    mount.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", mount], check=True)
    path = mount / f"{payloads.GROUP_PREFIX}{payloads.new_id()}"
    path.mkdir()
    yield path
    with suppress(FileNotFoundError):
        (path / "cgroup.kill").write_text("1")
        wait_until(lambda: not (path / "cgroup.procs").read_text())
        path.rmdir()
    subprocess.run(["umount", mount], check=True)


def launch_in(group: Path, node: Node, **values: Any) -> Launched:
    payload = group.name.removeprefix(payloads.GROUP_PREFIX)
    return node.launch(payload=payload, cgroup=str(group), **values)


def test_its_control_group_says_what_all_of_it_used_and_goes_with_it(group: Path, node: Node) -> None:
    burn = "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); exec sleep 1000"
    launched = launch_in(group, node, script=burn, processes=1)
    wait_until(lambda: sleeps(proc.owned_by(ANNA)[0]))
    launched.kill_launcher()
    assert node.recover() == []
    (end,) = node.records("payload_end")
    assert end["measured"] == "cpu.stat"
    assert end["group_cpu"] > 100_000, "of the subshell, which has ended, too"
    assert abs(end["group_cpu"] - end["user"] - end["system"]) < 10, "the kernel rounds each"
    assert len(node.records("kill")) == 1
    assert not group.exists()
    assert proc.owned_by(ANNA) == []


def test_a_bomb_in_a_control_group_dies_at_once(group: Path, node: Node) -> None:
    bomb = "f() { sleep 0.01; f & }; f; wait; sleep 1000"
    launched = launch_in(group, node, script=bomb, processes=2)
    launched.kill_launcher()
    assert node.recover() == []
    assert proc.owned_by(ANNA) == []
    assert not group.exists()


def test_a_control_group_of_somebody_else_is_not_killed_by_whatever_a_state_file_says(group: Path, node: Node) -> None:
    launched = node.launch(cgroup=str(group), script="exec sleep 1000", processes=1)
    with (group / "cgroup.procs").open("w") as members:
        members.write(str(node.step.pid))
    launched.kill_launcher()
    assert node.recover() == []
    assert node.step.poll() is None
    assert proc.owned_by(PILOT)


def test_a_group_on_hold_is_stopped_and_not_killed(group: Path, node: Node) -> None:
    (node.base / "holds" / ACCOUNTS[ANNA]).write_text("incident 7")
    launch_in(group, node).kill_launcher()
    assert node.recover() == []
    assert {one.state for one in proc.owned_by(ANNA)} == {"T"}
    assert group.exists()


def test_a_payload_whose_launcher_lives_is_touched_by_nobody(node: Node) -> None:
    launched = node.launch()
    assert node.recover() == []
    report = sweep(node.site, kill=True, seconds=60)
    assert report.strays() == 0
    assert len(proc.owned_by(ANNA)) == MEMBERS
    assert node.registered() == [launched.payload]
    assert node.records("payload_end") == []


def test_a_service_of_the_site_runs_payloads_outside_any_batch_job_and_the_pruner_knows(node: Node) -> None:
    launched = node.launch(in_job=False, batch="", job="")
    report = sweep(node.site, kill=True, seconds=60)
    assert report.strays() == 0
    assert len(proc.owned_by(ANNA)) == MEMBERS
    os.kill(launched.launcher, signal.SIGKILL)
    node.outside.pop().wait()
    sweep(node.site, kill=True, seconds=60)
    assert proc.owned_by(ANNA) == []
    assert len(node.records("payload_end")) == 1


def test_the_pruner_ends_it_and_the_account_has_nothing_left_that_runs(node: Node) -> None:
    node.launch().kill_launcher()
    report = sweep(node.site, kill=True, seconds=60)
    assert not report.unknown
    assert proc.owned_by(ANNA) == []
    assert len(node.records("payload_end")) == 1
    assert node.registered() == []


def test_a_run_of_the_pruner_that_only_reports_names_it_and_ends_nothing(node: Node) -> None:
    launched = node.launch()
    launched.kill_launcher()
    report = sweep(node.site, kill=False, seconds=60)
    assert [(row["action"], row["account"]) for row in report.rows if launched.payload in str(row["what"])] == [
        ("left", "gwt52")
    ]
    assert report.exit_code() == 1
    assert len(proc.owned_by(ANNA)) == MEMBERS
    assert node.records("payload_end") == []


def test_the_epilog_of_any_job_ends_it_though_its_own_account_is_none_of_ours(node: Node) -> None:
    node.launch().kill_launcher()
    environment = {"SLURM_JOB_USER": "pilot", "SLURMD_NODENAME": "n1", "SLURM_JOB_ID": "9", "SLURM_JOB_UID": str(PILOT)}
    assert slurm_node.run("epilog", environment, str(node.base / "node")) == 0
    assert proc.owned_by(ANNA) == []
    assert len(node.records("payload_end")) == 1


def test_the_agent_ends_it_and_gives_the_directory_back_when_a_job_of_htcondor_is_over(
    node: Node, tmp_path: Path
) -> None:
    """HTCondor kills the launcher with the guard and all of the pilot's job, and no epilog follows."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    os.chown(scratch, ANNA, ANNA)
    status = scratch.stat()
    lent = {"scratch": str(scratch), "scratch_device": status.st_dev, "scratch_inode": status.st_ino}
    node.launch(batch="htcondor", job="n1#1.0#1", **lent, scratch_gid=PILOT).kill_launcher()
    over = started.Started(1, 1, PILOT)
    over.batch, over.job, over.account = "htcondor", "n1#1.0#1", "pilot"
    node.site |= {"prune_htcondor_programs": [str(tmp_path)], "prune_daemon": []}  # the startd has ended, too
    starter_errands.end(node.site, over)
    assert proc.owned_by(ANNA) == []
    assert len(node.records("payload_end")) == 1
    assert scratch.stat().st_uid == PILOT


def test_payloads_that_take_long_to_clear_up_after_keep_no_end_of_a_job_of_htcondor_off_the_record(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's child has five minutes for both, and is sent once more when they are over."""
    monkeypatch.setattr(starter_errands, "PAYLOADS_SECONDS", 0.0)
    node.launch().kill_launcher()
    over = started.Started(1, 1, PILOT)
    over.batch, over.job, over.account = "htcondor", "n1#1.0#1", "pilot"
    node.site |= {"prune_htcondor_programs": ["/nowhere"], "prune_daemon": []}
    starter_errands.end(node.site, over)
    assert [end["job"] for end in node.records("job_end")] == ["n1#1.0#1"]
    assert node.records("payload_end") == [], "the pruner's, or the next's"


def test_a_launcher_that_was_stopped_hears_all_the_same_that_its_job_is_over(node: Node) -> None:
    launched = node.launch()
    os.kill(launched.launcher, signal.SIGSTOP)
    payload_recovery.ask_to_end(node.site, "slurm", "9")
    wait_until(lambda: (now := proc.read(launched.launcher)) is None or now.has_ended())


def test_the_next_launch_ends_it_and_leaves_no_process_of_before_beside_its_own(node: Node) -> None:
    first = node.launch()
    first.kill_launcher()
    second = node.launch(processes=0)  # as many go as come
    assert [end["payload"] for end in node.records("payload_end")] == [first.payload]
    assert node.registered() == [second.payload]


def test_a_launch_of_another_pilot_for_somebody_else_does_not_wait_for_what_a_killed_launcher_lent(node: Node) -> None:
    first = node.launch()
    first.kill_launcher()
    second = node.launch(BELA, pilot_uid=FIXED)
    assert node.records("payload_end") == []
    third = node.launch(BELA)
    assert [end["payload"] for end in node.records("payload_end")] == [first.payload]
    assert node.registered(BELA) == sorted([second.payload, third.payload])


def test_another_payload_of_the_same_person_runs_on(node: Node) -> None:
    killed, living = node.launch(), node.launch()
    killed.kill_launcher()
    assert node.recover() == []
    assert len(proc.owned_by(ANNA)) == MEMBERS
    assert proc.read(living.process), "the wrong one was ended"
    assert node.registered() == [living.payload]
    assert (node.tmp / f"gridwarden-payload.{living.payload}").exists()


def test_a_batch_job_of_the_same_person_runs_on(node: Node) -> None:
    launched = node.launch()
    anothers = subprocess.Popen(
        [sys.executable, "-c", STEP, f"{node.base}/spool/n1/n1_10.0", str(ANNA)], stdin=subprocess.PIPE
    )
    try:
        wait_until(lambda: [one for one in proc.owned_by(ANNA) if one.parent == anothers.pid])
        (task,) = [one.pid for one in proc.owned_by(ANNA) if one.parent == anothers.pid]
        (pilots,) = [one.pid for one in proc.owned_by(PILOT)]
        node.slurm_says(f"PID JOBID STEPID LOCALID GLOBALID\n{pilots} 9 0 0 0\n{task} 10 0 0 0\n")
        launched.kill_launcher()
        assert node.recover() == []
        assert [one.pid for one in proc.owned_by(ANNA)] == [task]
        assert node.records("payload_end")
    finally:
        anothers.kill()
        anothers.wait()


def test_on_an_account_that_is_on_hold_everything_is_stopped_and_kept_as_evidence(node: Node) -> None:
    (node.base / "holds" / ACCOUNTS[ANNA]).write_text("incident 7")
    launched = node.launch()
    launched.kill_launcher()
    assert node.recover() == []
    assert {one.state for one in proc.owned_by(ANNA)} == {"T"}
    assert len(node.records("frozen")) == MEMBERS
    assert node.records("kill") == []
    assert len(node.records("payload_end")) == 1


def test_of_payloads_started_at_once_no_more_run_than_one_identity_may_have(node: Node) -> None:
    starters, written = [], os.pipe()
    for _ in range(6):
        starter = os.fork()
        if starter == 0:
            state = payloads.State(
                payload=payloads.new_id(), cluster="site", node="n1", account="gwt52", uid=ANNA, gid=ANNA,
                scheme="x509", subject="/CN=Anna", pilot_uid=PILOT,
            )  # fmt: skip
            try:
                begin_end.begin(node.site, state, 2)
                os.write(written[1], b"+")
            except Refused as refused:
                os.write(written[1], b"-" if refused.reason == reasons.PAYLOAD_LIMIT else b"?")
            signal.pause()
        starters.append(starter)
    told = b""
    while len(told) < 6:
        told += os.read(written[0], 6)
    assert sorted(told) == sorted(b"++----")
    assert len(node.registered()) == 2
    for starter in starters:
        os.kill(starter, signal.SIGKILL)
        os.waitpid(starter, 0)


def test_a_launch_that_came_to_nothing_leaves_nothing_and_no_record_of_a_start(node: Node) -> None:
    state = payloads.State(payload="a" * 32, cluster="site", node="n1", account="gwt52", uid=ANNA, pilot_uid=PILOT)
    state, held = begin_end.begin(node.site, state)
    (node.base / "ledger").rename(node.base / "elsewhere")
    with pytest.raises(ConfigurationError):
        begin_end.started(node.site, state, held, os.getpid(), "")
    (node.base / "elsewhere").rename(node.base / "ledger")
    assert payloads.is_led(node.site["payloads"][0], state.payload), "until it is undone nobody else may see to it"
    begin_end.abandon(node.site, state, held)
    assert node.registered() == []
    assert os.listdir(node.base / "payloads") == []
    assert node.records("payload_start") == node.records("payload_end") == []


def test_payloads_of_several_people_are_each_their_own(node: Node) -> None:
    first, second = node.launch(), node.launch(BELA)
    first.kill_launcher()
    assert node.recover() == []
    assert (len(proc.owned_by(ANNA)), len(proc.owned_by(BELA))) == (0, MEMBERS)
    second.kill_launcher()
    assert node.recover() == []
    assert {end["account"] for end in node.records("payload_end")} == {"gwt52", "gwt53"}


def test_a_service_whose_own_payloads_launcher_was_killed_is_not_killed_with_it(node: Node) -> None:
    service = subprocess.Popen(["sleep", "1006"], user=ANNA, group=ANNA, extra_groups=[], cwd="/")
    node.outside.append(service)
    wait_until(lambda: len(proc.owned_by(ANNA)) == 1)
    node.launch(in_job=False, pilot_uid=ANNA, batch="", job="")
    os.kill(node.outside[-1].pid, signal.SIGKILL)
    node.outside.pop().wait()
    assert node.recover() == []
    assert service.poll() is None, "that is the pilot itself"
    assert len(node.records("payload_end")) == 1


def test_of_an_account_outside_the_pools_only_what_is_certainly_the_payloads_ends(node: Node) -> None:
    daemon = subprocess.Popen(["sleep", "1006"], user=FIXED, group=FIXED, extra_groups=[], cwd="/")
    node.outside.append(daemon)
    wait_until(lambda: len(proc.owned_by(FIXED)) == 1)
    node.launch(FIXED).kill_launcher()
    assert node.recover() == []
    assert [one.pid for one in proc.owned_by(FIXED)] == [daemon.pid], "it was no launcher that started that"


def test_while_slurm_does_not_answer_nobody_is_killed_on_a_guess_and_nothing_is_forgotten(node: Node) -> None:
    launched = node.launch()
    launched.kill_launcher()
    node.slurm_says("slurmd does not answer\n", 1)
    ((what, why),) = node.recover()
    assert launched.payload in what
    assert "it cannot be told" in why
    assert len(proc.owned_by(ANNA)) == MEMBERS
    assert node.registered() == [launched.payload]
    (task,) = [one.pid for one in proc.owned_by(PILOT)]
    node.slurm_says(f"PID JOBID STEPID LOCALID GLOBALID\n{task} 9 0 0 0\n")
    assert node.recover() == []
    assert proc.owned_by(ANNA) == []


def test_a_payload_that_starts_processes_faster_than_they_can_be_looked_at_ends_too(node: Node) -> None:
    chain_of_births = "f() { sleep 0.01; f & }; f; wait; sleep 1000"
    launched = node.launch(script=f"{chain_of_births}", processes=2)
    launched.kill_launcher()
    wait_until(lambda: not (node.recover() or proc.owned_by(ANNA)))
    assert len(node.records("payload_end")) == 1


def test_an_account_that_makes_its_first_payload_slow_keeps_nobody_waiting_for_its_others(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = [node.launch(uid, script="exec sleep 1000", processes=1) for uid in (ANNA, ANNA, ANNA, BELA)]
    for one in launched:
        one.kill_launcher()

    def settle(site: Any, state: Any, held: int) -> None:
        if state.account == ACCOUNTS[ANNA]:
            time.sleep(0.3)
        begin_end.finish(site, state, held)

    monkeypatch.setattr(payload_recovery, "SLOW_SECONDS", 0.3, raising=False)
    left = payload_recovery.recover_all(node.site, settle)
    assert {why.partition(" took")[0] for _, why in left} == {f"another payload of {ACCOUNTS[ANNA]}"}
    assert sorted(end["account"] for end in node.records("payload_end")) == [ACCOUNTS[ANNA], ACCOUNTS[BELA]]
    assert len(left) == 2


def test_two_who_clear_up_at_once_write_one_record(node: Node) -> None:
    node.launch().kill_launcher()
    workers = []
    for _ in range(4):
        worker = os.fork()
        if worker == 0:
            os._exit(1 if node.recover() else 0)
        workers.append(worker)
    assert [os.waitpid(worker, 0)[1] for worker in workers] == [0] * 4
    assert len(node.records("payload_end")) == 1
    assert node.registered() == []


@pytest.mark.parametrize(
    "step",
    [
        "_record_end",
        "payloads.write",
        "_log",
        "give_back",
        "remove_temporary",
        "register.leave",
        "payloads.remove",
        "clear",
    ],
)
def test_whoever_is_killed_while_clearing_up_is_followed_by_one_who_goes_on(
    node: Node, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    node.launch().kill_launcher()
    owner, name = {
        "register.leave": (register, "leave"),
        "payloads.write": (payloads, "write"),
        "payloads.remove": (payloads, "remove"),
        "clear": (clean_up, "clear"),
    }.get(step, (payload_end, step))
    worker = os.fork()
    if worker == 0:
        monkeypatch.setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        node.recover()
        os._exit(0)
    assert os.waitpid(worker, 0)[1] == signal.SIGKILL
    assert node.recover() == []
    assert len(node.records("payload_end")) == 1
    assert node.registered() == []
    assert os.listdir(node.base / "payloads") == []
    assert (os.listdir(node.tmp), [(gap["what"], gap["reason"]) for gap in node.records("gap")]) == ([], [])


def test_an_end_that_cannot_be_recorded_keeps_its_figures_for_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = node.launch(script="exec sleep 1000", processes=1)
    launched.kill_launcher()
    ledger = node.base / "ledger"
    ledger.rename(node.base / "elsewhere")
    (left,) = node.recover()
    assert "ledger" in left[1]
    (node.base / "elsewhere").rename(ledger)
    held = payloads.take_over(str(node.base / "payloads"), launched.payload)
    assert held is not None
    os.close(held)
    assert node.recover() == []
    assert len(node.records("payload_end")) == 1


def test_figures_of_a_launcher_that_could_not_record_them_are_recorded_by_the_next(node: Node) -> None:
    state = payloads.State(
        payload="c" * 32, cluster="site", node="n1", account="gwt52", uid=ANNA, gid=ANNA, pilot_uid=PILOT, lease="ab"
    )
    state, held = begin_end.begin(node.site, state)
    (node.base / "ledger").rename(node.base / "elsewhere")
    with pytest.raises(ConfigurationError):
        begin_end.ended(node.site, state.but(status=3 << 8, user=1234, system=56, measured="wait4"), held)
    (node.base / "elsewhere").rename(node.base / "ledger")
    assert node.recover() == [], "this process holds no lock any more"
    (end,) = node.records("payload_end")
    assert (end["status"], end["user"], end["system"], end["measured"]) == (3, 1234, 56, "wait4")
    assert end["because"] == "", "nobody was killed"


def test_a_temporary_directory_that_its_launcher_had_not_given_away_yet_is_not_left(node: Node) -> None:
    temporary = node.tmp / f"gridwarden-payload.{'e' * 32}"
    launcher = os.fork()
    if launcher == 0:
        state = payloads.State(
            payload="e" * 32, cluster="site", node="n1", account="gwt52", uid=ANNA, gid=ANNA, temporary=str(temporary)
        )
        begin_end.begin(node.site, state)
        temporary.mkdir(0o700)
        os._exit(0)
    assert os.waitpid(launcher, 0)[1] == 0
    assert node.recover() == []
    assert (os.listdir(node.tmp), node.records("gap")) == ([], [])


def test_figures_of_an_end_whose_account_is_busy_for_too_long_are_not_lost(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = payloads.State(
        payload="d" * 32, cluster="site", node="n1", account="gwt52", uid=ANNA, gid=ANNA, pilot_uid=PILOT, lease="ab"
    )
    launcher = os.fork()
    if launcher == 0:
        state, held = begin_end.begin(node.site, state)
        monkeypatch.setattr(begin_end.batch_job, "LOCK_SECONDS", 0.1)
        with register.AccountLock(node.site["locks"][0], "gwt52", 0.1), suppress(Unavailable):
            begin_end.ended(node.site, state.but(status=3 << 8, user=1234, system=56, measured="wait4"), held)
        os._exit(0)
    assert os.waitpid(launcher, 0)[1] == 0
    assert node.records("payload_end") == []
    assert node.recover() == []
    (end,) = node.records("payload_end")
    assert (end["status"], end["user"], end["system"], end["because"]) == (3, 1234, 56, "")


def test_while_a_state_file_is_not_whole_it_is_named_and_nobody_is_killed_on_a_guess(node: Node) -> None:
    launched = node.launch()
    broken = node.base / "payloads" / ("0" * 32)
    broken.write_bytes(b"version\t1\n")
    launched.kill_launcher()
    reported = [row["what"] for row in sweep(node.site, kill=False, seconds=60).rows if row["action"] == "left"]
    assert {f"payload {broken.name}", f"payload {launched.payload}"} <= set(reported)
    left = node.recover()
    assert {what for what, _ in left} == {f"payload {broken.name}", f"payload {launched.payload}"}
    assert all(broken.name in why for _, why in left)
    assert len(proc.owned_by(ANNA)) == MEMBERS
    broken.unlink()
    assert node.recover() == []
    assert proc.owned_by(ANNA) == []


def lend(node: Node, path: Path) -> None:
    """A launcher that has lent this directory of the pilot's, and was killed."""
    status = path.stat()
    state = payloads.State(
        payload=payloads.new_id(), cluster="site", node="n1", account="gwt52", uid=ANNA, gid=ANNA, pilot="pilot",
        pilot_uid=PILOT, scratch=str(path), scratch_gid=PILOT, scratch_device=status.st_dev, scratch_inode=status.st_ino,
    )  # fmt: skip
    lender = os.fork()
    if lender == 0:
        begin_end.begin(node.site, state)
        os._exit(0)
    assert os.waitpid(lender, 0)[1] == 0


def test_the_pilot_gets_its_scratch_back_with_what_the_payload_made(node: Node, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    (scratch / "result").write_text("42")
    for path in (scratch, scratch / "result"):
        os.chown(path, ANNA, ANNA)
    for name in ("others", "roots"):
        (scratch / name).touch()
    lend(node, scratch)
    assert node.recover() == []
    assert {path.stat().st_uid for path in (scratch, scratch / "result")} == {PILOT}
    assert {gap["reason"] for gap in node.records("gap")} == {change_owner.OTHERS}
    assert len(node.records("gap")) == 2


def test_a_path_that_is_too_long_for_a_record_keeps_nobody_from_clearing_up(node: Node, tmp_path: Path) -> None:
    """As a payload can make one, and its account would be taken for ever."""
    scratch = tmp_path / ("\udcff" * 250)
    scratch.mkdir()
    os.chown(scratch, ANNA, ANNA)
    below = os.open(scratch, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d" * 250, dir_fd=below)
        above, below = below, os.open("d" * 250, os.O_RDONLY, dir_fd=below)
        os.close(above)
        os.fchown(below, ANNA, ANNA)
    os.close(os.open("roots", os.O_CREAT, dir_fd=below))
    os.close(below)
    lend(node, scratch)
    assert node.recover() == []
    assert scratch.stat().st_uid == PILOT
    assert [gap["reason"] for gap in node.records("gap")] == [change_owner.OTHERS]
    assert node.registered() == []
    assert payloads.names(str(node.base / "payloads")) == []


def test_another_directory_under_the_name_of_the_lent_one_is_not_given_to_the_pilot(node: Node, tmp_path: Path) -> None:
    lent, home = tmp_path / "lent", tmp_path / "home"
    for path in (lent, home):
        path.mkdir()
        os.chown(path, ANNA, ANNA)
    lend(node, lent)
    lent.rename(tmp_path / "aside")
    home.rename(lent)
    assert node.recover() == []
    assert lent.stat().st_uid == ANNA
    assert any("another one now" in gap["reason"] for gap in node.records("gap"))


def test_a_link_in_the_place_of_the_lent_directory_is_not_followed(node: Node, tmp_path: Path) -> None:
    lent = tmp_path / "lent"
    lent.mkdir()
    os.chown(lent, ANNA, ANNA)
    lend(node, lent)
    lent.rename(tmp_path / "aside")
    lent.symlink_to(tmp_path / "aside")
    assert node.recover() == []
    assert (tmp_path / "aside").stat().st_uid == ANNA
    assert any("is not given back" in gap["reason"] for gap in node.records("gap"))


@pytest.mark.parametrize("where", ["aside", "own/aside"])
def test_a_lent_directory_that_cannot_be_given_back_is_not_cleared_away_with_what_the_payload_left(
    node: Node, where: str
) -> None:
    lent, aside = node.tmp / "lent", node.tmp / where
    for path in (lent, node.tmp / "own", node.tmp / "own/leaving"):
        path.mkdir()
        os.chown(path, ANNA, ANNA)
    (lent / "input").write_text("the pilot's")
    os.chown(lent / "input", ANNA, ANNA)
    lend(node, lent)
    lent.rename(aside)
    assert node.recover() == []
    assert (aside / "input").read_text() == "the pilot's"
    assert not (node.tmp / "own/leaving").exists(), "that one is the payload's own"
    assert any("is not given back" in gap["reason"] for gap in node.records("gap"))
    node.site["prune_scratch_age_hours"] = ["0"]
    (node.tmp / "left").touch()
    os.chown(node.tmp / "left", ANNA, ANNA)
    rows = sweep(node.site, kill=True, seconds=60).rows
    assert [row["detail"] for row in rows if row["what"].startswith("payload ")] == [
        f"the directory that it was lent could not be given back yet: {lent}: no such file or directory"
    ]
    assert not (node.tmp / "left").exists(), "the account's own is cleared away as ever"
    assert (aside / "input").read_text() == "the pilot's", "not cleared away while it is on record as lent"
    aside.rename(lent)
    assert node.recover() == []
    assert {path.stat().st_uid for path in (lent, lent / "input")} == {PILOT}
    assert os.listdir(node.base / "payloads") == []


def test_a_lent_directory_on_a_file_system_that_is_read_only_for_now_is_given_back_when_that_is_over(
    node: Node, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], check=True)
    try:
        scratch = mounted / "scratch"
        scratch.mkdir()
        os.chown(scratch, ANNA, ANNA)
        lend(node, scratch)
        subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
        for _ in range(2):
            assert node.recover() == []
        (gap,) = node.records("gap")
        assert (str(scratch) in gap["what"], gap["reason"]) == (True, "read-only file system")
        assert len(payloads.names(str(node.base / "payloads"))) == 1, "it is still owed"
        state, held = begin_end.begin(node.site, payloads.State(payload="f" * 32, account="gwt52", uid=ANNA), 1)
        begin_end.abandon(node.site, state, held)
        subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
        assert payload_recovery.recover_all(node.site) == [], "the pruner's turn"
        assert scratch.stat().st_uid == PILOT
        assert payloads.names(str(node.base / "payloads")) == []
    finally:
        subprocess.run(["umount", mounted], check=True)


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="the site has no /dev/fuse: this runs outside it")
def test_a_lent_directory_on_a_file_system_that_hangs_is_the_pruners_to_try_again_and_holds_up_one_epilog_at_most(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_end, "ANSWER_SECONDS", 0.2)
    scratch = tmp_path / "mounted/scratch"
    scratch.mkdir(parents=True)
    os.chown(scratch, ANNA, ANNA)
    lend(node, scratch)
    tried: list[str] = []

    def finish(site: Any, state: Any, held: int) -> None:
        tried.append(state.owed)
        begin_end.finish(site, state, held)

    with dead_mount(scratch.parent):
        for _ in range(2):
            assert payload_recovery.recover_all(node.site, finish) == []
        assert tried == [""], "an epilog that comes later does not wait for it"
        assert payload_recovery.recover_all(node.site) == []
    (gap,) = node.records("gap")
    assert change_owner.NOT_IN_TIME in gap["reason"]
    monkeypatch.setattr(payload_end, "ANSWER_SECONDS", 60.0)  # what hung answers now, if not in fifths of a second
    assert payload_recovery.recover_all(node.site) == []
    assert scratch.stat().st_uid == PILOT
    assert payloads.names(str(node.base / "payloads")) == []


def nowhere(scratch: Path) -> None:
    scratch.rmdir()


def behind_a_name_that_is_too_long(scratch: Path) -> None:
    scratch.parent.rename(scratch.parent.with_name("aside"))
    scratch.parent.symlink_to("/" + "a" * 300)


@pytest.mark.parametrize("hide", [nowhere, behind_a_name_that_is_too_long])
def test_a_lent_directory_that_is_nowhere_for_a_day_is_given_up(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: Callable[[Path], None]
) -> None:
    """Else a pilot could keep the account of whomever it ran taken for as long as it liked."""
    scratch = tmp_path / "pilots/scratch"
    scratch.mkdir(parents=True)
    lend(node, scratch)
    hide(scratch)
    assert node.recover() == []
    assert len(payloads.names(str(node.base / "payloads"))) == 1
    monkeypatch.setattr(payload_end, "KEEP_SECONDS", 0.0)
    assert node.recover() == []
    assert payloads.names(str(node.base / "payloads")) == []
    assert len(node.records("gap")) == 2, "that it was not given back, and that it will not be"
