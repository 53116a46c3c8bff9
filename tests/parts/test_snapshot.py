"""Real processes that hide or pretend, as the judge gets to see them; and a live job in a storm of its own forks."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridwarden import proc
from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.pools import is_ordinary
from gridwarden.prune import reasons, snapshot
from gridwarden.prune.exempt import Executables
from gridwarden.prune.judge import Verdict, judge
from gridwarden.prune.rules import Rules, read
from tests.killing import kill
from tests.proof import LONG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

UID, OTHER_UID, OUTSIDER, LENT = 61011, 61012, 61013, 700_000
ACCOUNTS = {UID: "cms001", OTHER_UID: "cms002"}
PYTHON = os.path.realpath(sys.executable)
READY = "print(flush=True); "
SLEEP = READY + "time.sleep(600)"
BECOME = "become = lambda uid: (os.setgroups([]), os.setresgid(uid, uid, uid), os.setresuid(uid, uid, uid)); "
IMPORTS = "import ctypes, os, random, sys, threading, time; libc = ctypes.CDLL(None); " + BECOME
SNAPSHOTS = 2000 if LONG else 100

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start python3 with CODE, or COMMAND, as UID, and wait for its first line; all end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(code: str = SLEEP, command: list[str] | None = None, uid: int = UID) -> subprocess.Popen[bytes]:
        # The interpreter may be where only root can execute it.
        user = {"user": uid, "group": uid, "extra_groups": []} if command else {}
        words = command or [PYTHON, "-Ic", IMPORTS + f"become({uid}); " + code]
        process = subprocess.Popen(words, **user, cwd="/", stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        process.first_line = process.stdout.readline()
        return process

    yield run
    for process in reversed(started):  # who traces another keeps it from being waited for
        with process:
            os.killpg(process.pid, signal.SIGKILL)
    while left := [process.pid for uid in ACCOUNTS for process in proc.owned_by(uid)]:
        kill(*left)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that everybody can enter, on a file system that lets set-uid programs be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def take() -> snapshot.Snapshot:
    return snapshot.take(lambda uid: ACCOUNTS.get(uid, ""))


def verdicts(*answers: Answer, rules: Rules | None = None) -> dict[int, Verdict]:
    seen, rules = take(), rules or Rules()
    Executables(rules.paths).enter(seen.seen.values())
    found = judge(seen, list(answers) or [Answer("slurm", [])], rules)
    return {verdict.process.pid: verdict for verdict in found}


def live_job(pid: int, owner: int = UID) -> Answer:
    process = proc.read(pid)
    assert process
    roots = {pid: process.start}
    job = LiveJob(batch="slurm", job="1", node="n", owner=owner, roots=roots, sessions=frozenset(), cgroups=())
    return Answer("slurm", [job])


def until(what: Callable[[], object]) -> None:
    for _ in range(12_000):
        if what():
            return
        time.sleep(0.005)
    pytest.fail("it never came to that")


def test_a_set_uid_program_is_its_callers(start, directory):
    program = directory / "sleep"
    shutil.copyfile("/bin/sleep", program)
    program.chmod(0o4755)
    process = start(f"{READY} os.execv({str(program)!r}, ['slurmstepd', '600'])")
    until(lambda: proc.read(process.pid).effective_uid == 0)
    assert os.stat(f"/proc/{process.pid}").st_uid == 0
    verdict = verdicts(rules=Rules(daemons=frozenset([str(program)])))[process.pid]
    assert (verdict.account, verdict.reason, verdict.process.effective_uid) == ("cms001", reasons.NO_JOB, 0)


def test_a_process_that_is_not_dumpable_is_found_though_its_files_are_roots(start):
    process = start("libc.prctl(4, 0); " + SLEEP)
    assert os.stat(f"/proc/{process.pid}/stat").st_uid == 0
    assert verdicts()[process.pid].reason == reasons.NO_JOB


def test_a_process_between_two_accounts_is_its_real_uids(start):
    process = start(f"os.setresuid({UID}, {OTHER_UID}, {UID}); {SLEEP}", uid=0)
    verdict = verdicts()[process.pid]
    assert (verdict.account, verdict.process.effective_uid) == ("cms001", OTHER_UID)


def test_a_uid_lent_by_subuid_is_no_place_to_hide(start, directory):
    (directory / "subuid").write_text(f"nobody-here:{LENT - 9}:9\nbroken\n{UID}:{LENT}:65536\nalice:900000:65536\n")
    rules = Rules(uids=((UID, UID),), subordinate=str(directory / "subuid"))
    hidden = start(command=["unshare", "--user", "sh", "-c", "echo; sleep 600"], uid=LENT + 1)
    escaped = start(uid=LENT + 2)
    start(uid=OUTSIDER)
    found = judge(snapshot.take(rules.whose), [Answer("slurm", [])], rules)
    assert {verdict.owner for verdict in found} == {UID}
    assert {verdict.account for verdict in found} == {str(UID)}
    told = {verdict.process.pid: verdict.reason for verdict in found}
    assert (told[hidden.pid], told[escaped.pid]) == (reasons.NO_JOB, reasons.NO_JOB)
    assert (rules.whose(LENT - 1), rules.whose(900_000), rules.whose(OUTSIDER)) == ("", "", "")
    assert rules.account_of(LENT + 1) == ""
    people = [user.pw_uid for user in pwd.getpwall() if is_ordinary(user.pw_uid)]
    (directory / "subuid").write_text(f"{UID}:1000:4000000000\n")
    rules = Rules(uids=((UID, UID),), subordinate=str(directory / "subuid"))
    assert {rules.whose(uid) for uid in (*people, LENT + 1)} <= {""}
    assert list(rules.lent.faults.values()) == [f"it lends {UID} uids that are the system's"]
    (directory / "subuid").write_text(f"{UID}:{LENT}:65536\n")
    (directory / "subuid").chmod(0o666)
    rules = Rules(uids=((UID, UID),), subordinate=str(directory / "subuid"))
    assert rules.whose(LENT + 1) == ""
    assert "can be written by others" in rules.lent.faults[str(directory / "subuid")]
    rules = Rules(uids=((UID, UID),), subordinate=str(directory / "none"))
    assert (rules.whose(LENT + 1), rules.lent.faults) == ("", {})


PRETEND = Path(__file__).with_name("pretend.c")


@pytest.mark.skipif("GRIDWARDEN_IN_SITE" in os.environ, reason="runs on the machine itself, which has a compiler")
def test_who_has_the_kernel_show_a_daemons_file_as_its_own_is_no_daemon_and_not_exempt(start, directory):
    program, daemon = directory / "pretend", directory / "slurmstepd"
    subprocess.run(["cc", "-O2", "-fno-builtin", "-static", "-o", program, PRETEND], check=True)
    shutil.copyfile("/bin/sleep", daemon)
    daemon.chmod(0o755)
    pretender = start(command=["unshare", "--user", "--map-root-user", str(program), str(daemon)])
    assert os.readlink(f"/proc/{pretender.pid}/exe") == str(daemon)
    below = int(pretender.first_line)
    rules = read({"pool": ["cms"], "prune_daemon": [str(daemon)], "prune_exempt_command": [str(daemon)]})
    told = verdicts(rules=rules)
    assert (told[pretender.pid].reason, told[below].reason) == (reasons.NO_JOB, reasons.NO_JOB)


def test_people_outside_the_pools_and_root_acting_for_an_account_are_no_strays(start):
    outsider = start(uid=OUTSIDER)
    borrowed = start(f"os.setresuid({OUTSIDER}, {UID}, {UID}); {SLEEP}", uid=0)
    kept = start(f"os.setresuid({OUTSIDER}, {OUTSIDER}, {UID}); {SLEEP}", uid=0)
    root = start(f"os.seteuid({UID}); {SLEEP}", uid=0)
    told = verdicts()
    assert not {outsider.pid, root.pid} & set(told)
    assert (told[borrowed.pid].reason, told[borrowed.pid].account) == (reasons.OUTSIDER, "cms001")
    assert (told[kept.pid].reason, told[kept.pid].account) == (reasons.OUTSIDER, "cms001")


@pytest.mark.parametrize(
    "name", [b"slurmstepd", b"x) S 1 (y", b"a\nUid:\t0\t0\t0", b"[kworker/1:0]", b"", b"\xff\xfe", b"\x1b[2J"]
)
def test_no_name_hides_a_process_or_its_uids(start, name):
    process = start(f"libc.prctl(15, {name!r}); {SLEEP}")
    found = verdicts()[process.pid]
    assert (found.process.command.encode("utf-8", "surrogateescape"), found.reason) == (name, reasons.NO_JOB)
    assert (found.process.real_uid, found.process.effective_uid) == (UID, UID)


@pytest.mark.parametrize("name", [" ", " " * 100, "slurmstepd: [1.batch]", "[kthreadd]", "a\nb"])
def test_no_argument_hides_a_process(start, name):
    process = start(f"{READY} os.execv('/bin/sleep', [{name!r}, '600'])")
    until(lambda: proc.read(process.pid).command != "python3")
    assert verdicts()[process.pid].reason == reasons.NO_JOB


def test_who_has_ended_is_not_judged_but_who_runs_on_without_a_first_thread_is(start):
    zombie = start("child = os.fork(); child or os._exit(0); print(child, flush=True); time.sleep(600)")
    thread = "threading.Thread(target=time.sleep, args=(600,)).start(); print(flush=True); "
    # SYS_exit of this thread alone: 60 on x86_64, 93 elsewhere.
    headless = start(thread + "libc.syscall(60 if os.uname().machine == 'x86_64' else 93, 0)")
    ended = int(zombie.first_line)
    until(lambda: proc.read(ended).state == proc.read(headless.pid).state == "Z")
    told = verdicts()
    assert ended not in told
    assert told[headless.pid].reason == reasons.NO_JOB
    assert take().seen[headless.pid].cgroups == take().seen[zombie.pid].cgroups


def test_ancestors_and_the_leader_of_the_session_are_read_with_their_files(start):
    process = start("child = os.fork(); child and (print(child, flush=True) or os.wait()); time.sleep(600)")
    child = int(process.first_line)
    seen = take().seen
    assert seen[child].process.parent == seen[child].process.session == process.pid
    assert seen[os.getpid()].executable == PYTHON
    assert 1 in seen
    assert seen[child].executable == PYTHON
    assert seen[child].cgroups == tuple(
        dict.fromkeys(line.split(":", 2)[2] for line in Path(f"/proc/{child}/cgroup").read_text().splitlines())
    )


def test_an_orphan_in_the_session_that_roots_own_process_leads_is_that_jobs(start):
    # slurmstepd leads the session of a step that makes none of its own.
    code = f"""
if os.fork():
    os.wait()
else:
    become({UID})
    if os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
time.sleep(600)
"""
    root = start(f"exec({code!r})", uid=0)
    child = int(root.first_line)
    until(lambda: proc.read(child).parent != root.pid and proc.read(proc.read(child).parent).real_uid == 0)
    assert verdicts(live_job(root.pid))[child].reason == reasons.JOB_SESSION
    assert verdicts()[child].reason == reasons.NO_JOB


def test_what_roots_daemon_started_lives_though_the_daemon_was_upgraded_under_it(start, directory):
    daemon = directory / "slurmstepd"
    shutil.copyfile("/bin/bash", daemon)
    daemon.chmod(0o755)
    script = f"setpriv --reuid {UID} --regid {UID} --clear-groups sleep 600 & echo $!; wait"
    root = start(command=[str(daemon), "-c", script], uid=0)
    child = int(root.first_line)
    until(lambda: proc.read(child).real_uid == UID)
    rules = read({"pool": ["cms"], "prune_daemon": [str(daemon)]})
    assert verdicts(rules=rules)[child].reason == reasons.BELOW_BATCH_DAEMON
    shutil.copyfile("/bin/true", directory / "new")
    (directory / "new").replace(daemon)  # as dpkg and rpm do
    assert take().seen[root.pid].executable.endswith("slurmstepd (deleted)")
    assert verdicts(rules=rules)[child].reason == reasons.BELOW_BATCH_DAEMON
    assert verdicts()[child].reason == reasons.NO_JOB


def test_root_of_a_namespace_of_its_own_imitates_neither_a_daemon_nor_an_exempt_file(start, directory):
    for name in ("slurmstepd", "exempt"):
        (directory / name).write_text("the real one")
    inner = (
        f"mount --bind /bin/sleep {directory}/slurmstepd && mount --bind /bin/sleep {directory}/exempt && "
        f"echo && {{ {directory}/exempt 600 & exec {directory}/slurmstepd 600; }}"
    )
    start(command=["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner])
    shown = {f"{directory}/slurmstepd", f"{directory}/exempt"}
    until(lambda: {one.executable for one in take().seen.values() if one.process.real_uid == UID} == shown)
    rules = read(
        {
            "pool": ["cms"],
            "prune_daemon": [f"{directory}/slurmstepd"],
            "prune_exempt_command": [f"{directory}/exempt", "/bin/sleep"],
        }
    )
    assert [verdict.reason for verdict in verdicts(rules=rules).values()] == [reasons.NO_JOB] * 2


def test_a_command_is_exempt_by_the_file_at_its_path_and_a_container_that_shows_another_one_there_is_not(
    start, directory
):
    program, link = directory / "program", directory / "link"
    shutil.copyfile("/bin/sleep", program)
    program.chmod(0o755)
    link.symlink_to(program)
    rules = read({"pool": ["cms"], "prune_exempt_command": [str(link), f"{directory}/missing"]})
    genuine = start(command=["sh", "-c", f"echo; exec {link} 600"])
    # What a set-uid container program does: the mount namespace is root's making, and the image is the user's.
    user = f"setpriv --reuid {UID} --regid {UID} --clear-groups"
    image = f"mount --bind /bin/sleep {program} && echo && exec {user} {program} 600"
    fake = start(command=["unshare", "--mount", "sh", "-c", image], uid=0)
    until(lambda: (one := take().seen.get(fake.pid)) and one.executable == str(program))
    until(lambda: take().seen[genuine.pid].executable == str(program))
    found = verdicts(rules=rules)
    assert found[genuine.pid].reason == reasons.EXEMPT_COMMAND
    assert found[fake.pid].reason == reasons.NO_JOB
    program.unlink()
    rules = read({"pool": ["cms"], "prune_exempt_command": [str(program)]})
    assert verdicts(rules=rules)[genuine.pid].reason == reasons.NO_JOB


def test_a_jobs_container_with_its_own_pid_namespace_is_the_jobs(start):
    inner = "sh -c 'setsid sleep 600 & echo; exec sleep 601'"
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child=KILL"]
    process = start(command=[*command, "sh", "-c", f"({inner}) & wait"])
    told = verdicts(live_job(process.pid))
    assert len(told) >= 4
    assert {verdict.reason for verdict in told.values()} == {reasons.BELOW_JOB_ROOT}
    assert all(verdict.stray for verdict in verdicts().values())


def test_being_traced_by_a_process_of_a_live_job_makes_nobody_a_part_of_it(start):
    # /proc shows who forked a process, not who waits for it.
    stray = start(command=["sh", "-c", "echo; exec sleep 600"])
    job = start(f"libc.ptrace(0x4206, {stray.pid}, 0, 0); {SLEEP}")  # PTRACE_SEIZE
    assert f"TracerPid:\t{job.pid}\n" in Path(f"/proc/{stray.pid}/status").read_text()
    told = verdicts(live_job(job.pid))
    assert (told[job.pid].reason, told[stray.pid].reason) == (reasons.BELOW_JOB_ROOT, reasons.LEFT_ITS_JOB)


REUSE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from gridwarden import proc
def start():
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0)
    return child
reading, writing = os.pipe()
first = start()
descriptor = proc.open_directory(first)
assert proc.read_below(descriptor).pid == first
os.write(writing, b"1")
os.waitpid(first, 0)
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(first - 1))
assert start() == first
assert proc.read(first)
assert proc.read_below(descriptor) is None
"""


def test_a_directory_opened_before_its_number_was_given_away_shows_nobody_else():
    world = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    subprocess.run([*world, PYTHON, "-Ic", REUSE, Path(__file__).parents[2]], check=True)


STORM = """
def live(depth):
    # Fork, leave the parent behind, lead a session, execute another file.
    for _ in range(3):
        if os.fork() == 0:
            if random.random() < 0.3:
                os.setsid()
            if depth < 3:
                live(depth + 1)
            if random.random() < 0.1:
                os.execv("/bin/true", ["slurmstepd"])
            time.sleep(random.random() / 100)
            os._exit(0)
for _ in range(4):
    if os.fork() == 0:
        while os.getppid() != 1:  # until the job's root, which adopts each of these, has ended
            if os.fork():
                os._exit(0)
        os._exit(0)
while True:
    live(0)
    try:
        while os.waitpid(-1, 0):
            pass
    except ChildProcessError:
        pass
"""


def test_no_process_of_a_live_job_is_called_a_stray_while_it_forks_orphans_and_ends(start):
    """The job's root adopts its orphans, as slurmstepd does; so every process of the storm is always the job's."""
    job = start(f"libc.prctl(36, 1); {READY} exec({STORM!r})")
    answer = live_job(job.pid)
    judged = 0
    for _ in range(SNAPSHOTS):
        for verdict in verdicts(answer).values():
            judged += 1
            assert verdict.reason == reasons.BELOW_JOB_ROOT, verdict.process.command
    assert judged > SNAPSHOTS * 2


@pytest.mark.parametrize(
    "world",
    [
        "unshare --pid --fork",  # /proc is that of another pid namespace
        "unshare --mount sh -c 'mount -t proc -o hidepid=2 proc /proc; exec \"$@\"' -",
    ],
)
def test_a_proc_that_does_not_show_everyone_is_refused_rather_than_believed(world):
    checkout = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {checkout!r}); from gridwarden import proc; {IMPORTS} become({UID}); "
    words = [*shlex.split(world), PYTHON, "-Ic", code + "proc.by_owner()"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Unavailable: /proc does not show every process" in done.stderr


def test_a_control_group_with_an_odd_name_is_one_path_and_stops_no_run(tmp_path: Path) -> None:
    odd = "/user.slice/x\x0c0::/system.slice/argus\u2028y"
    (tmp_path / "cgroup").write_text(f"0::{odd}\n")
    descriptor = os.open(tmp_path, os.O_PATH)
    try:
        process = proc.read(os.getpid())
        assert process
        assert proc.cgroups_below(descriptor, process) == (odd,)
    finally:
        os.close(descriptor)
