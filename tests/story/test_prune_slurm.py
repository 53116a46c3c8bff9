"""The pruner beside the real Slurm: live jobs of every shape survive every run, and no stray survives one."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc, register
from tests import pruning
from tests.proof import LONG
from tests.pruning import Pruner, gone, is_alive, killed, load, plant, processes_of, sleeper, sleepers, strew
from tests.site import daemons
from tests.site.slurm import running_daemons, until
from tests.site.up import NODES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

REGISTER = "/run/gridwarden/jobs"
CROWD = ("--partition", "crowd", "--mem", "1")
MANY = 50 if LONG else 20
BACK_TO_BACK = 1000 if LONG else 60
SHAPES = {
    "array": ("sleep 411$SLURM_ARRAY_TASK_ID", ("--array", "1-2")),
    "two nodes": ("srun --overlap sh -c 'exec sleep 412$SLURM_NODEID'", ("--nodes", "2", "--ntasks", "2")),
    "nohup": ("nohup sleep 4131 >/dev/null 2>&1 & wait", ()),
    "orphaned in the job's session": ("(sleep 4141 &); sleep 4142", ()),
    "a session of its own": ("setsid --wait sleep 4151", ()),
    "a container by unshare": ("unshare --user --map-root-user --pid --fork sleep 4161", ()),
    "suspended": ("sleep 4171 & sleep 4172", ()),
    "requeued": ("sleep 4181", ("--requeue",)),
    "interactive": ("script --quiet --command 'srun --overlap --pty sleep 4191' /dev/null", ()),
}
SLEEPERS = {"4111", "4112", "4120", "4121", "4131", "4141", "4142", "4151", "4161", "4171", "4172", "4181", "4191"}


@pytest.fixture
def account(people: SimpleNamespace) -> str:
    command = ["gridwarden", "map", "--proxy", str(people.dora.proxy)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


@pytest.fixture(scope="module", autouse=True)
def _crowd() -> Iterator[None]:
    """A partition for many jobs at once that do nothing; only here, so that sinfo shows each node once elsewhere."""
    words = ["nodes=ALL", "maxtime=infinite", "state=up", "oversubscribe=force:60"]
    subprocess.run(["scontrol", "create", "partitionname=crowd", *words], check=True)
    yield
    subprocess.run(["scontrol", "delete", "partitionname=crowd"], check=True)


@pytest.fixture(autouse=True)
def _nothing_left_running(slurm: ModuleType) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--user", "root", "--state", "suspended"], check=False)
    subprocess.run(["sh", "-c", "squeue --noheader --format=%A | xargs --no-run-if-empty scancel"], check=True)
    slurm.until("the test's jobs to be gone", lambda: not queue(), 120)
    slurm.until("the epilogs", lambda: not register.everything(REGISTER), 120)


def queue() -> list[str]:
    return subprocess.run(
        ["squeue", "--noheader", "--format=%A"], capture_output=True, text=True, check=True
    ).stdout.split()


def submit(slurm: ModuleType, account: str, script: str, *options: str) -> int:
    return slurm.submit(account, script, *CROWD, *options)


def slurmstepd(job: int) -> int:
    listed = subprocess.run(
        ["pgrep", "-f", rf"^slurmstepd: \[{job}.batch\]"], capture_output=True, text=True, check=True
    )
    return int(listed.stdout.split()[0])


def start_slurmd(slurm: ModuleType) -> None:
    """Start n1's again, as it was started before."""
    daemons.start(NODES[0])
    slurm.until("slurmd to listen", listens)


def listens() -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", 16821)) == 0


def hurried(slurm: ModuleType, job: int) -> bool:
    """Whether a job that was put back runs; Slurm would have it wait two minutes from when it has left its node."""
    if slurm.job(job)["state_reason"] == "BeginTime":
        subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], capture_output=True, check=False)
    return slurm.state(job) == "RUNNING"


def test_live_jobs_of_every_shape_survive_every_run_under_load_and_no_stray_survives_one(
    slurm: ModuleType, account: str
) -> None:
    jobs = {shape: submit(slurm, account, script, *options) for shape, (script, options) in SHAPES.items()}
    slurm.until("the job to be requeued to run", lambda: slurm.state(jobs["requeued"]) == "RUNNING")
    subprocess.run(["scontrol", "requeue", str(jobs["requeued"])], check=True)
    slurm.until("it to be put back", lambda: slurm.job(jobs["requeued"])["job_state"] == ["PENDING"])
    put_back = time.time()  # slurmd refuses a credential of the second in which it has revoked the last one
    slurm.until("that second to be over", lambda: time.time() > put_back + 2)
    slurm.until("it to run again", lambda: hurried(slurm, jobs["requeued"]), 180)
    assert slurm.job(jobs["requeued"])["restart_cnt"] == 1
    slurm.until("every shape to run", lambda: sleepers(account) >= SLEEPERS)
    subprocess.run(["scontrol", "suspend", str(jobs["suspended"])], check=True)
    live = processes_of(account)
    pruner = Pruner("slurm")
    with load():
        for kind in itertools.islice(itertools.cycle(pruning.STRAYS), pruning.RUNS):
            stray = plant(account, kind)
            report = pruner.run()
            assert report.unknown == {}
            assert killed(report) == {stray.pid}
            assert not is_alive(stray)
            assert gone(live) == []


def test_what_linuxproc_leaves_of_a_job_dies_and_the_accounts_other_job_does_not(
    slurm: ModuleType, account: str
) -> None:
    submit(slurm, account, "exec sleep 4201")
    ended = submit(slurm, account, "setsid sleep 4202 & sleep 4203 & (sleep 4204 &); sleep 0.5")
    slurm.until("the live job to run", lambda: "4201" in sleepers(account))
    slurm.wait(ended)
    slurm.until("its epilog", lambda: str(ended) not in [entry.job for entry in register.jobs_of(REGISTER, account)])
    assert sleepers(account) == {"4201", "4202", "4203", "4204"}
    report = Pruner("slurm").run()
    assert len(killed(report)) == 3
    assert {row["reason"] for row in report.rows if row["pid"] in killed(report)} == {"left-its-job"}
    assert sleepers(account) == {"4201"}


def test_what_makes_itself_its_parents_child_stays_the_jobs_and_ends_with_it(slurm: ModuleType, account: str) -> None:
    job = submit(slurm, account, pruning.sibling(account, "4251", "4252"), "--nodelist", "n1")
    slurm.until("both to sleep", lambda: sleepers(account) == {"4251", "4252"})
    made = sleeper(account, "4251")
    assert made.parent == slurmstepd(job), "not slurmd's, which would protect it for ever"
    live = processes_of(account)
    stray = plant(account, pruning.STRAYS[0])
    pruner = Pruner("slurm")
    assert killed(pruner.run()) == {stray.pid}
    assert gone(live) == []
    slurm.cancel(job)
    slurm.wait(job)
    slurm.until("its slurmstepd to end", lambda: not proc.read(made.parent))
    pruner.run()
    assert processes_of(account) == {}


def test_many_live_jobs_survive_slurmd_killed_started_and_upgraded_and_a_controller_that_hangs(
    slurm: ModuleType, account: str
) -> None:
    submit(slurm, account, "exec sleep 43$SLURM_ARRAY_TASK_ID", "--array", f"1-{MANY}", "--nodelist", "n1")
    slurm.until("the jobs to run", lambda: len(sleepers(account)) == MANY, 120)
    live = processes_of(account)
    pruner = Pruner("slurm")
    for turn in range(pruning.RUNS):
        if turn == 1:  # as a package does: a new file under the old name
            program = os.path.realpath("/usr/sbin/slurmstepd")
            shutil.copy2(program, f"{program}.new")
            os.replace(f"{program}.new", program)
        stray = plant(account, pruning.STRAYS[turn % len(pruning.STRAYS)])
        (slurmd,) = running_daemons("slurmd", "n1")
        slurmd.kill()
        reports = [pruner.run()]
        if turn % 5 == 0:
            start_slurmd(slurm)
        else:
            daemons.start(NODES[0])
        reports.append(pruner.run())
        assert [report.unknown for report in reports] == [{}, {}]
        assert set.union(*(killed(report) for report in reports)) == {stray.pid}
        assert gone(live) == []
        slurm.until("slurmd to be there", lambda: running_daemons("slurmd", "n1"))
    (controller,) = running_daemons("slurmctld")
    controller.suspend()
    try:
        assert Pruner("slurm").run().unknown == {}
    finally:
        controller.resume()
    assert gone(live) == []


@pytest.mark.parametrize("failure", ["hangs", "half", "nothing", "does not answer"])
def test_nobody_is_killed_while_the_real_slurm_does_not_say_what_runs(
    slurm: ModuleType, account: str, tmp_path: Path, failure: str
) -> None:
    job = submit(slurm, account, "exec sleep 4401", "--nodelist", "n1")
    slurm.until("the job to run", lambda: "4401" in sleepers(account))
    stray = plant(account, pruning.STRAYS[0])
    live = processes_of(account)
    pruner = Pruner("slurm")
    spool = Path("/var/spool/slurmd/n1")
    with ExitStack() as undo:
        if failure == "hangs":
            os.kill(slurmstepd(job), signal.SIGSTOP)
            undo.callback(os.kill, slurmstepd(job), signal.SIGCONT)
        elif failure == "half":
            pruner.site["slurm_programs"] = [str(tmp_path)]
            (tmp_path / "scontrol").write_text('#!/bin/sh\n/usr/bin/scontrol "$@" | head --bytes=-20\n')
            (tmp_path / "scontrol").chmod(0o755)
        elif failure == "nothing":
            empty = tmp_path / "spool" / "n1"
            empty.mkdir(parents=True)
            pruner.site["slurm_spool"] = [f"{empty.parent}/%n"]
        else:
            spool.rename("/var/spool/slurmd/elsewhere")
            undo.callback(os.rename, "/var/spool/slurmd/elsewhere", spool)
        report = pruner.run(seconds=3)
        assert "slurm" in report.unknown
        assert report.exit_code() == 75
        assert gone(live) == []
    assert killed(Pruner("slurm").run()) == {stray.pid}
    assert [process.pid for process in gone(live)] == [stray.pid]


def test_a_job_whose_socket_is_lost_is_still_below_its_slurmstepd(slurm: ModuleType, account: str) -> None:
    job = submit(slurm, account, "exec sleep 4501", "--nodelist", "n1")
    slurm.until("the job to run", lambda: "4501" in sleepers(account))
    live = processes_of(account)
    stray = plant(account, pruning.STRAYS[0])
    name = Path(f"/var/spool/slurmd/n1/n1_{job}.4294967291")
    name.rename(name.with_name("lost"))
    try:
        assert killed(Pruner("slurm").run()) == {stray.pid}
        assert gone(live) == []
    finally:
        name.with_name("lost").rename(name)


def test_jobs_of_one_account_back_to_back_are_all_left_alone(slurm: ModuleType, account: str) -> None:
    job = submit(slurm, account, "sleep 0.2 & sleep 0.1; wait", "--array", f"1-{BACK_TO_BACK}", "--nodelist", "n1")
    pruner = Pruner("slurm")
    strays, runs = set(), 0
    began = time.monotonic()
    while queue():
        strays.add(strew(account, pruning.STRAYS[runs % 2]))
        assert killed(pruner.run()) <= strays
        runs += 1
    assert runs > BACK_TO_BACK / 30
    print(f"{BACK_TO_BACK} jobs, {runs} runs, a stray each, in {time.monotonic() - began:.0f} s: no job was touched")
    listed = ["squeue", "--noheader", "--states=all", "--array", f"--jobs={job}", "--format=%T"]
    states = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    assert states == ["COMPLETED"] * BACK_TO_BACK
    pruner.run()
    assert processes_of(account) == {}


@contextmanager
def control_group(job: int) -> Iterator[Path]:
    """A control group of the kernel's, named as Slurm names a job's; the hierarchy is the whole machine's."""
    mount = Path("/run/gridwarden-test-cgroup")
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "none", str(mount)], check=True)
    top = mount / f"gridwarden-{secrets.token_hex(4)}"
    group = top / f"job_{job}" / "step_batch"
    group.mkdir(parents=True)
    try:
        yield group
    finally:
        for directory in (group, group.parent, top):
            until("the control group to be empty", lambda: emptied(directory))  # noqa: B023 - runs in this turn
        subprocess.run(["umount", str(mount)], check=True)


def emptied(directory: Path) -> bool:
    for pid in (directory / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    with suppress(OSError):
        directory.rmdir()
    return not directory.exists()


@pytest.mark.parametrize("protects", ["yes", "no"])
def test_what_left_its_job_but_not_its_control_group_lives_where_the_site_says_so(
    slurm: ModuleType, account: str, protects: str
) -> None:
    job = submit(slurm, account, "sleep 4601; (setsid sleep 4602 &); sleep 4603", "--nodelist", "n1")
    slurm.until("the job to run", lambda: "4601" in sleepers(account))
    pruner = Pruner("slurm")
    pruner.site["prune_cgroup_protects"] = [protects]
    with control_group(job) as group:
        for pid in (slurmstepd(job), *slurm.pids(job)):
            (group / "cgroup.procs").write_text(str(pid))
        (first,) = (one for one in processes_of(account).values() if one.command == "sleep")
        os.kill(first.pid, signal.SIGTERM)
        slurm.until("the daemon to be on its own", lambda: sleepers(account) == {"4602", "4603"})
        strays = killed(pruner.run())
        assert sleepers(account) == ({"4602", "4603"} if protects == "yes" else {"4603"})
        assert len(strays) == (protects == "no")
        slurm.cancel(job)
        slurm.wait(job)
