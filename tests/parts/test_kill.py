"""Strays of every shape die, alone and beside a live job of their account, and nobody else is touched."""

from __future__ import annotations

import mmap
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gridwarden import proc
from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.prune import control_group, halt, kill, signals, strays
from gridwarden.prune.judge import Verdict, judge
from gridwarden.prune.rules import Rules
from gridwarden.prune.signals import Uids
from gridwarden.prune.snapshot import take
from tests.proof import LONG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

UID, OTHER_UID, OUTSIDER, LENT = 61013, 61014, 61015, 700_013
HOPS = 20 if LONG else 4
PYTHON = os.path.realpath(sys.executable)
CHECKOUT = Path(__file__).parent.parent.parent
SECONDS = 20.0
EXIT_THREAD = {"x86_64": 60, "aarch64": 93}[platform.machine()]
BEGIN = f"""
import ctypes, os, signal, subprocess, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def stay():
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(600)
def become():
    os.setgroups([]); os.setresgid({UID}, {UID}, {UID}); os.setresuid({UID}, {UID}, {UID})
"""

BECOME_LENT = f"os.setgroups([]); os.setresgid({UID}, {UID}, {UID}); os.setresuid({LENT}, {LENT}, {LENT})\n"

SHAPES = {
    "plain": "become(); stay()",
    "of its own session": "become(); os.setsid(); stay()",
    "double-forked": "become(); os.fork() and os._exit(0); os.fork() and os._exit(0); stay()",
    "daemonised": "become(); os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); os.chdir('/'); stay()",
    "below a subreaper": """
become()
libc.prctl(36, 1, 0, 0, 0)
if os.fork():
    stay()
os.fork() and os._exit(0)
stay()""",
    "acting as somebody else": f"os.setgroups([]); os.setresuid({UID}, {OTHER_UID}, {UID}); stay()",
    "of a set-uid program of root's": f"os.setgroups([]); os.setresuid({UID}, 0, 0); stay()",
    "not dumpable": "become(); libc.prctl(4, 0, 0, 0, 0); stay()",
    "deaf": "become(); [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15, 17, 18)]; stay()",
    "stopped": "become(); print(os.getpid(), flush=True); os.close(1); os.kill(os.getpid(), signal.SIGSTOP)",
    "traced": """
become()
if os.fork():
    os.wait()
    stay()
libc.ptrace(0, 0, 0, 0)
print(os.getpid(), flush=True)
os.close(1)
os.kill(os.getpid(), signal.SIGSTOP)""",
    "in a user namespace": "become(); libc.unshare(0x10000000) and os.abort(); stay()",
    "the first of a pid namespace": """
become()
libc.unshare(0x30000000) and os.abort()
child = os.fork()
if child:
    print(child, flush=True)
    stay()
os.close(1)
time.sleep(600)""",
    "of many threads": """
become()
[threading.Thread(target=time.sleep, args=(600,)).start() for _ in range(20)]
stay()""",
    "without its first thread": f"""
become()
threading.Thread(target=time.sleep, args=(600,)).start()
print(os.getpid(), flush=True)
os.close(1)
libc.syscall({EXIT_THREAD}, 0)""",
    "waiting for what it vforked": """
become()
if libc.vfork() == 0:
    os.write(1, b"%d\\n%d\\n" % (os.getppid(), os.getpid()))
    time.sleep(600)""",
    "named like a daemon": "become(); libc.prctl(15, b'x) S 1 (y\\n', 0, 0, 0); stay()",
    "restarted by its parent": """
become()
os.setsid()
print(os.getpid(), flush=True)
while True:
    if os.fork() == 0:
        stay()
    os.close(1)
    os.wait()""",
}


@pytest.fixture
def start() -> Iterator[Callable[..., list[int]]]:
    """Start a program of ours: the pids that it printed.  All are dead afterwards."""
    with ExitStack() as stack:

        def started(code: str) -> list[int]:
            words = [PYTHON, "-ISc", BEGIN + code]
            process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, cwd="/"))
            stack.callback(process.kill)
            if "vfork" in code:  # nobody is left to close the parent's end
                return [int(process.stdout.readline()) for _ in range(2)]
            return [int(line) for line in process.stdout]

        yield started
        kill.empty_account(Uids(UID, {LENT}), UID, SECONDS)


@pytest.fixture
def job(start) -> list[int]:
    """A live job of the account: its leader, and a process below it."""
    return start("become(); os.setsid(); os.fork(); stay()")


def judge_beside(leader: int) -> Callable[[], list[Verdict]]:
    """The judge, told of one job."""
    roots = {leader: proc.read(leader).start}
    live = LiveJob(batch="slurm", job="7", node="n1", owner=UID, roots=roots, sessions=frozenset(), cgroups=())

    def judge_again() -> list[Verdict]:
        snapshot = take(lambda uid: "cms001" if uid == UID else "")
        return judge(snapshot, [Answer("slurm", [live])], Rules())

    return judge_again


def leader_of(pids: list[int]) -> int:
    return next(pid for pid in pids if proc.read(pid).session == pid)


def running(pids: list[int]) -> list[int]:
    """Those that are there and have not been stopped."""
    found = [process for process in map(proc.read, pids) if process]
    return [process.pid for process in found if process.state not in "TtZX"]


def gone(pids: list[int]) -> bool:
    found = [process for process in map(proc.read, pids) if process]
    return all(process.has_ended() for process in found)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_stray_survives_when_its_account_is_emptied(shape: str, start) -> None:
    pids = start(SHAPES[shape])
    assert pids and not gone(pids)
    outcome = kill.empty_account(Uids(UID), UID, SECONDS)
    assert gone(pids)
    assert outcome.left == []
    assert set(pids) <= {pid for pid, _ in outcome.killed}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_stray_survives_beside_a_live_job_and_the_job_does(shape: str, job, start) -> None:
    pids = start(SHAPES[shape])
    assert pids and not gone(pids)
    outcome = strays.kill_strays(Uids(UID), UID, judge_beside(leader_of(job)), SECONDS)
    assert gone(pids)
    assert outcome.left == []
    assert running(job) == job
    assert not set(job) & {pid for pid, _ in outcome.killed}


def test_a_stray_that_a_live_job_traces_and_holds_as_it_ends_is_reported_and_dead_with_the_job(start) -> None:
    with subprocess.Popen(["sleep", "600"], user=UID, group=UID, extra_groups=[], start_new_session=True) as stray:
        while proc.read(stray.pid).command != "sleep":
            time.sleep(0.01)
        tracer = f"become(); os.setsid(); libc.ptrace(0x4206, {stray.pid}, 0, 0x40) and os.abort(); stay()"
        (leader,) = start(tracer)  # PTRACE_SEIZE, PTRACE_O_TRACEEXIT
        try:
            ((what, why),) = strays.kill_strays(Uids(UID), UID, judge_beside(leader), SECONDS).left
            assert (running([leader]), what) == ([leader], f"process {stray.pid} (sleep)")
            assert "its tracer holds it" in why
            assert kill.empty_account(Uids(UID), UID, SECONDS).left == []
        finally:
            os.kill(leader, signal.SIGKILL)  # who traces another keeps it from being waited for


def test_a_record_of_a_kill_can_say_what_it_was(start) -> None:
    (pid,) = start("become(); stay()")
    outcome = kill.empty_account(Uids(UID), UID, SECONDS)
    ((name, process),) = outcome.killed.items()
    assert (name[0], process.pid, process.real_uid) == (pid, pid, UID)
    assert outcome.command_lines[name].startswith(os.fsencode(PYTHON) + b"\0-ISc\0")


def test_who_has_got_a_dead_strays_number_is_not_killed_for_it(start) -> None:
    (pid,) = start("become(); stay()")
    judged = proc.read(pid)
    other = proc.Process(**{name: getattr(judged, name) for name in proc.Process.__slots__} | {"start": 1})
    assert not signals.send(other, Uids(UID), signal.SIGKILL)
    assert not signals.send(judged, Uids(OTHER_UID), signal.SIGKILL)
    assert running([pid]) == [pid]
    assert signals.send(judged, Uids(UID), signal.SIGKILL)


REUSE = f"""
import os, signal, time
from pathlib import Path
from gridwarden import proc
from gridwarden.prune import signals

def start():
    pid = os.fork()
    if pid == 0:
        os.setresuid({UID}, {UID}, {UID})
        time.sleep(600)
    while proc.read(pid).real_uid != {UID}:
        pass
    return pid

for _ in range(20):
    stray = start()
    judged = proc.read(stray)
    os.kill(stray, signal.SIGKILL)
    os.waitpid(stray, 0)
    time.sleep(0.02)
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(stray - 1))
    innocent = start()
    assert innocent == stray
    assert not signals.send(judged, {{{UID}}}, signal.SIGKILL)
    assert signals.send(proc.read(innocent), {{{UID}}}, signal.SIGKILL)
    os.waitpid(innocent, 0)
"""


def test_the_next_process_with_a_dead_strays_pid_and_uid_lives() -> None:
    unshared = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", REUSE]
    subprocess.run(unshared, check=True, cwd=CHECKOUT)


def test_a_daemon_of_root_that_acts_for_the_account_at_the_moment_lives(start) -> None:
    (pid,) = start(f"os.setresuid(0, {UID}, 0); stay()")
    try:
        assert kill.empty_account(Uids(UID), UID, SECONDS).killed == {}
        assert running([pid]) == [pid]
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("real", [0, OUTSIDER])
@pytest.mark.parametrize("effective", [0, UID, OUTSIDER])
@pytest.mark.parametrize("saved", [UID, LENT])
def test_who_keeps_the_accounts_uid_as_a_saved_uid_lives_and_the_account_is_emptied(
    real, effective, saved, start
) -> None:
    (other,) = start(f"os.setgroups([]); os.setresuid({real}, {effective}, {saved}); stay()")
    try:
        pids = start("become(); stay()") + start(BECOME_LENT + "stay()")
        outcome = kill.empty_account(Uids(UID, {LENT}), UID, SECONDS)
        assert gone(pids)
        assert ({pid for pid, _ in outcome.killed}, outcome.left) == (set(pids), [])
        assert running([other]) == [other]
    finally:
        os.kill(other, signal.SIGKILL)


HOP = """
become()
os.setsid()
print(os.getpid(), flush=True)
os.close(1)
while True:
    if os.fork():
        os._exit(0)"""


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_who_only_forks_and_ends_is_dead_and_on_record(beside, kept, job, start) -> None:
    others = start(f"os.setresuid(0, 0, {UID}); stay()") if kept else []
    try:
        for _ in range(HOPS):
            if not beside:
                kill.empty_account(Uids(UID), UID, SECONDS)
            start(HOP)
            if beside:
                outcome = strays.kill_strays(Uids(UID), UID, judge_beside(leader_of(job)), SECONDS)
            else:
                outcome = kill.empty_account(Uids(UID), UID, SECONDS)
            assert [process.pid for process in proc.owned_by(UID)] == sorted([*others, *(job if beside else [])])
            assert outcome.killed
            assert (outcome.left, outcome.unseen) == ([], False)
            assert running(others) == others
    finally:
        for other in others:
            os.kill(other, signal.SIGKILL)


@pytest.mark.parametrize("beside", [False, True])
def test_who_only_forks_and_ends_stands_still_when_its_account_is_on_hold(beside, job, start) -> None:
    leader = leader_of(job)
    if not beside:
        kill.empty_account(Uids(UID), UID, SECONDS)
    start(HOP)
    if beside:
        outcome = strays.freeze_strays(Uids(UID), UID, judge_beside(leader), SECONDS)
    else:
        outcome = kill.freeze_account(Uids(UID), UID, SECONDS)
    still = [process for process in proc.owned_by(UID) if process.pid not in job]
    assert still
    assert {process.state for process in still} == {"T"}
    assert {pid for pid, _ in outcome.killed} >= {process.pid for process in still}
    assert (outcome.left, outcome.unseen) == ([], False)


WITHOUT_PRIORITY = f"""
import sys
from gridwarden.prune import kill
from gridwarden.prune.signals import Uids
outcome = kill.empty_account(Uids({UID}), {UID}, {SECONDS})
print(bool(outcome.killed), outcome.unseen, outcome.left)
"""


def test_where_nobody_can_be_halted_who_was_not_seen_dies_all_the_same_and_that_is_said(start) -> None:
    for _ in range(HOPS):
        start(HOP)
        words = ["setpriv", "--bounding-set=-sys_nice", sys.executable, "-c", WITHOUT_PRIORITY]
        told = subprocess.run(words, check=True, capture_output=True, text=True, cwd=CHECKOUT).stdout.split(maxsplit=2)
        assert proc.owned_by(UID) == []
        assert "True" in told[:2], "neither a kill nor that one was not seen is on record"
        assert told[2] == "[]\n"


def test_a_process_with_a_uid_that_is_lent_to_the_account_dies_with_it(start) -> None:
    pids = start(BECOME_LENT + "stay()") + start(HOP.replace("become()", BECOME_LENT)) + start("become(); stay()")
    outcome = kill.empty_account(Uids(UID, {LENT}), UID, SECONDS)
    assert proc.owned_by(LENT) == []
    assert {pids[0], pids[2]} <= {pid for pid, _ in outcome.killed}
    assert (outcome.left, outcome.unseen) == ([], False)
    assert any(process.real_uid == LENT for (pid, _), process in outcome.killed.items() if pid != pids[0])


TIDY = """
become()
def end(*_):
    open(PATH, "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
stay()"""


@pytest.mark.parametrize("beside", [False, True])
def test_who_ends_when_asked_can_tidy_up_and_who_does_not_is_killed(beside, job, start, tmp_path: Path) -> None:
    for parent in (tmp_path, *list(tmp_path.parents)[:-2]):
        parent.chmod(0o711)
    (tmp_path / "own").mkdir()
    os.chown(tmp_path / "own", UID, UID)
    marks = tmp_path / "own" / "ended"
    pids = start(TIDY.replace("PATH", repr(str(marks)))) + start(SHAPES["deaf"])
    if beside:
        outcome = strays.kill_strays(Uids(UID), UID, judge_beside(leader_of(job)), SECONDS, 1.0)
        assert running(job) == job
    else:
        outcome = kill.empty_account(Uids(UID), UID, SECONDS, 1.0)
    assert marks.exists()
    assert gone(pids)
    assert outcome.left == []
    sent = {pid: number for (pid, _), number in outcome.signals.items()}
    assert [sent[pid] for pid in pids] == [signal.SIGTERM, signal.SIGKILL]


def test_an_account_on_hold_stands_still_and_nothing_of_it_is_lost(start) -> None:
    pids = start(SHAPES["plain"]) + start(SHAPES["daemonised"])
    outcome = kill.freeze_account(Uids(UID), UID, SECONDS)
    assert [proc.read(pid).state for pid in pids] == ["T", "T"]
    assert ({pid for pid, _ in outcome.killed}, outcome.left) == (set(pids), [])


def test_strays_on_hold_stand_still_while_the_live_job_runs(job, start) -> None:
    pids = start(SHAPES["plain"]) + start(SHAPES["daemonised"])
    outcome = strays.freeze_strays(Uids(UID), UID, judge_beside(leader_of(job)), SECONDS)
    assert [proc.read(pid).state for pid in pids] == ["T", "T"]
    assert ({pid for pid, _ in outcome.killed}, outcome.left) == (set(pids), [])
    assert running(job) == job


def test_a_dry_run_names_the_strays_beside_a_job_and_touches_nothing(job, start) -> None:
    pids = start(SHAPES["daemonised"])
    for work in (strays.kill_strays, strays.freeze_strays):
        outcome = work(Uids(UID), UID, judge_beside(leader_of(job)), SECONDS, dry_run=True)
        named = {pid for pid, _ in outcome.killed}
        assert named >= set(pids), "and maybe its parent, which is about to end"
        assert not named & set(job)
    assert running(pids + job) == pids + job


def test_a_stray_that_turns_out_to_be_a_jobs_runs_on(job, start) -> None:
    pids = start(SHAPES["daemonised"])
    judge_again = judge_beside(leader_of(job))
    verdicts: list[list[Verdict]] = []

    def judge_otherwise() -> list[Verdict]:
        verdicts.append(judge_again())
        for verdict in verdicts[-1]:
            verdict.stray = verdict.stray and len(verdicts) <= 2
        return verdicts[-1]

    outcome = strays.kill_strays(Uids(UID), UID, judge_otherwise, SECONDS)
    assert len(verdicts) > 3
    assert running(pids + job) == pids + job
    assert outcome.killed == {}


def test_strays_run_on_when_it_cannot_be_told_any_more_what_they_are(job, start) -> None:
    pids = start(SHAPES["daemonised"])
    judge_again = judge_beside(leader_of(job))
    calls = []

    def fail_later() -> list[Verdict]:
        calls.append(None)
        if len(calls) > 2:
            raise ConnectionError
        return judge_again()

    with pytest.raises(ConnectionError):
        strays.kill_strays(Uids(UID), UID, fail_later, SECONDS)
    assert running(pids + job) == pids + job


def test_what_hangs_in_the_kernel_is_reported_and_not_waited_for(job, start, freezer: Path) -> None:
    pids = start(SHAPES["plain"])
    (freezer / "cgroup.procs").write_text(str(pids[0]))
    (freezer / "freezer.state").write_text("FROZEN")
    reports = [
        strays.kill_strays(Uids(UID), UID, judge_beside(leader_of(job)), SECONDS),
        kill.empty_account(Uids(UID), UID, 0.1),
    ]
    for ((what, why),) in (outcome.left for outcome in reports):
        assert f"process {pids[0]} " in what
        assert "hangs in the kernel" in why
    assert not gone(pids)


@pytest.fixture
def freezer(tmp_path: Path) -> Iterator[Path]:
    """A control group of version 1 whose processes no signal ends while it is frozen."""
    mounted = Path("/sys/fs/cgroup/freezer")
    if not (mounted / "cgroup.procs").exists():
        mounted = tmp_path
        subprocess.run(["mount", "-t", "cgroup", "-o", "freezer", "cgroup", mounted], check=True)
    group = mounted / f"gridwarden-test-{os.getpid()}"
    group.mkdir()
    yield group
    (group / "freezer.state").write_text("THAWED")
    while (group / "cgroup.procs").read_text():
        time.sleep(0.01)
    group.rmdir()
    if mounted == tmp_path:
        subprocess.run(["umount", mounted], check=True)


def test_the_account_that_is_killed_from_cannot_hold_the_pruner_up(start) -> None:
    # It stops every process of its account that it sees, the pruner's helper included.
    program = """
become()
print(os.getpid(), flush=True)
os.close(1)
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                os.kill(int(name), signal.SIGSTOP)
            except OSError:
                pass"""
    pids = start(program)
    outcome = kill.empty_account(Uids(UID), UID, SECONDS)
    assert gone(pids)
    assert outcome.left == []


def test_strays_that_were_stopped_are_killed_although_the_time_is_up(job, start) -> None:
    pids = start(SHAPES["daemonised"])
    strays.kill_strays(Uids(UID), UID, judge_beside(leader_of(job)), 0.0)
    assert running(job) == job
    while not gone(pids):
        time.sleep(0.01)


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A control group of version 2, where the pruner looks for one."""
    mounted = next((Path(root) for root in control_group.ROOTS if Path(root, "cgroup.controllers").exists()), tmp_path)
    if mounted == tmp_path:
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", mounted], check=True)
        monkeypatch.setattr(control_group, "ROOTS", (str(mounted),))
    group = mounted / f"gridwarden-test-{os.getpid()}"
    (group / "below").mkdir(parents=True)
    yield group
    (group / "cgroup.kill").write_text("1")
    while "populated 1" in (group / "cgroup.events").read_text():
        time.sleep(0.01)
    (group / "below").rmdir()
    group.rmdir()
    if mounted == tmp_path:
        subprocess.run(["umount", mounted], check=True)


def test_a_control_group_of_strays_alone_is_killed_with_those_below_it(job, start, group: Path) -> None:
    pids = start(SHAPES["plain"]) + start(SHAPES["daemonised"])
    (group / "cgroup.procs").write_text(str(pids[0]))
    (group / "below" / "cgroup.procs").write_text(str(pids[1]))
    assert str(group) in control_group.groups_of(map(proc.read, pids))
    killed = control_group.kill_cgroup(str(group), Uids(UID), judge_beside(leader_of(job)))
    assert {process.pid for process in killed} == set(pids)
    assert (group / "cgroup.freeze").read_text() == "0\n"
    assert running(job) == job


@pytest.mark.parametrize("whose", ["the job's", "root's"])
def test_a_control_group_with_a_job_or_root_in_it_is_left_alone_and_its_strays_die(whose, job, start, group) -> None:
    pids = start(SHAPES["plain"])
    others = job if whose == "the job's" else start("stay()")
    for pid in (*pids, *others):
        (group / "cgroup.procs").write_text(str(pid))
    judge_again = judge_beside(leader_of(job))
    assert control_group.kill_cgroup(str(group), Uids(UID), judge_again) == []
    assert strays.kill_strays(Uids(UID), UID, judge_again, SECONDS).left == []
    assert gone(pids)
    assert running([*job, *others]) == [*job, *others]


def test_whoever_is_halted_for_a_look_runs_on_afterwards_and_the_pruner_is_as_it_was() -> None:
    count = mmap.mmap(-1, 1)
    before = os.sched_getscheduler(0)
    child = os.fork()
    if child == 0:
        while True:
            count[0] = (count[0] + 1) % 256
    try:
        with signals.Urgent():
            assert os.sched_getscheduler(0) != before
            with halt.Halt():
                seen = {count[0] for _ in range(100_000)}
        assert len(seen) == 1
        while count[0] in seen:
            pass
        assert os.sched_getscheduler(0) == before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
