"""The pruner beside the real HTCondor: live jobs of every shape survive every run, and no stray survives one."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc
from tests import pruning
from tests.proof import LONG
from tests.pruning import Pruner, gone, is_alive, killed, load, plant, processes_of, sleeper, sleepers, strew
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ACCOUNT = "cms018"
MANY = 50 if LONG else 20
BACK_TO_BACK = 1000 if LONG else 20
SHAPES = {
    "plain": "exec sleep 5111",
    "nohup": "nohup sleep 5121 >/dev/null 2>&1 & wait",
    "orphaned in the job's session": "(sleep 5131 &); sleep 5132",
    "a session of its own": "setsid --wait sleep 5141",
    "a container by unshare": "unshare --user --map-root-user --pid --fork sleep 5151",
    "suspended": "sleep 5161 & sleep 5162",
}
SLEEPERS = {"5111", "5121", "5131", "5132", "5141", "5151", "5161", "5162"}


@pytest.fixture(autouse=True)
def _nothing_left_running(condor: ModuleType) -> Iterator[None]:
    yield
    subprocess.run(["condor_rm", "-all"], capture_output=True, check=False)
    for process in jobs_of(ACCOUNT).values():  # some do not mind TERM, and HTCondor would wait
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    until("the test's jobs to be gone", lambda: not condor.queue() and not processes_of(ACCOUNT), 120)


def running(name: str) -> list[int]:
    return [p.pid for p in proc.everyone() if p.command == name and p.real_uid == 0 and not p.has_ended()]


def daemon(name: str) -> int:
    return running(name)[0]


def shadows() -> dict[int, proc.Process]:
    return {process.pid: process for process in proc.everyone() if process.command == "condor_shadow"}


def jobs_of(account: str) -> dict[int, proc.Process]:
    """Its processes, without the daemons that act as it."""
    return {pid: process for pid, process in processes_of(account).items() if process.real_uid}


def test_live_jobs_of_every_shape_survive_every_run_under_load_and_no_stray_survives_one(condor: ModuleType) -> None:
    jobs = {shape: condor.submit(ACCOUNT, script) for shape, script in SHAPES.items()}
    until("every shape to run", lambda: sleepers(ACCOUNT) >= SLEEPERS, 180)
    subprocess.run(["condor_suspend", str(jobs["suspended"])], capture_output=True, check=True)
    until("it to be suspended", lambda: [p for p in processes_of(ACCOUNT).values() if p.state == "T"])
    live, serving = jobs_of(ACCOUNT), shadows()
    assert len(serving) == len(SHAPES)
    pruner = Pruner("slurm", "htcondor")
    with load():
        for kind in itertools.islice(itertools.cycle(pruning.STRAYS), pruning.RUNS):
            stray = plant(ACCOUNT, kind)
            report = pruner.run()
            assert report.unknown == {}
            assert killed(report) == {stray.pid}
            assert not is_alive(stray)
            assert gone(live) == []
            assert gone(serving) == []


def test_what_makes_itself_its_parents_child_stays_the_jobs_and_ends_with_it(condor: ModuleType) -> None:
    cluster = condor.submit(ACCOUNT, pruning.sibling(ACCOUNT, "5181", "5182"))
    until("both to sleep", lambda: sleepers(ACCOUNT) >= {"5181", "5182"}, 180)
    made = sleeper(ACCOUNT, "5181")
    assert proc.read(made.parent).command == "condor_starter"
    live = jobs_of(ACCOUNT)
    stray = plant(ACCOUNT, pruning.STRAYS[0])
    pruner = Pruner("htcondor")
    assert killed(pruner.run()) == {stray.pid}
    assert gone(live) == []
    subprocess.run(["condor_rm", str(cluster)], capture_output=True, check=True)
    until("its starter to end", lambda: not proc.read(made.parent))
    pruner.run()
    assert jobs_of(ACCOUNT) == {}


def test_many_live_jobs_survive_the_startds_restart_in_peace_an_upgrade_and_controllers_that_hang(
    condor: ModuleType,
) -> None:
    cluster = condor.submit(ACCOUNT, "exec sleep 5200", MANY)
    condor.wait_running(cluster, MANY)
    until("all to sleep", lambda: len(jobs_of(ACCOUNT)) == MANY, 180)
    live = jobs_of(ACCOUNT)
    for name in ("condor_startd", "condor_starter"):  # as a package does: a new file under the old name
        shutil.copy2(f"/usr/sbin/{name}", f"/usr/sbin/{name}.new")
        os.replace(f"/usr/sbin/{name}.new", f"/usr/sbin/{name}")
    subprocess.run(["condor_reconfig"], capture_output=True, check=True)
    subprocess.run(["condor_restart", "-peaceful", "-startd"], capture_output=True, check=True)
    pruner = Pruner("htcondor")
    hanging = [daemon("condor_collecto"), daemon("condor_schedd"), daemon("condor_negotiat")]
    with ExitStack() as undo:
        for turn in range(pruning.RUNS):
            if turn == pruning.RUNS // 2:
                for pid in hanging:
                    os.kill(pid, signal.SIGSTOP)
                    undo.callback(os.kill, pid, signal.SIGCONT)
            stray = plant(ACCOUNT, pruning.STRAYS[turn % len(pruning.STRAYS)])
            report = pruner.run()
            assert report.unknown == {}
            assert killed(report) == {stray.pid}
            assert gone(live) == []


@pytest.mark.parametrize("failure", ["hangs", "half", "nothing", "does not answer"])
def test_nobody_is_killed_while_the_real_startd_does_not_say_what_runs(
    condor: ModuleType, tmp_path: Path, failure: str
) -> None:
    condor.submit(ACCOUNT, "exec sleep 5301")
    until("the job to run", lambda: "5301" in sleepers(ACCOUNT), 180)
    stray = plant(ACCOUNT, pruning.STRAYS[0])
    live = jobs_of(ACCOUNT)
    pruner = Pruner("htcondor")
    address = Path("/var/log/condor/.startd_address")
    with ExitStack() as undo:
        if failure == "hangs":
            os.kill(daemon("condor_startd"), signal.SIGSTOP)
            undo.callback(os.kill, daemon("condor_startd"), signal.SIGCONT)
        elif failure == "does not answer":
            address.rename(address.with_name("away"))
            undo.callback(address.with_name("away").rename, address)
        else:
            cut = "head --lines=1" if failure == "half" else "true"
            (tmp_path / "condor_config_val").symlink_to("/usr/bin/condor_config_val")
            (tmp_path / "condor_status").write_text(f'#!/bin/sh\n/usr/bin/condor_status "$@" | {cut}\n')
            (tmp_path / "condor_status").chmod(0o755)
            pruner.site["prune_htcondor_programs"] = [str(tmp_path)]
        report = pruner.run(seconds=3)
        assert "htcondor" in report.unknown
        assert report.exit_code() == 75
        assert gone(live) == []
    assert killed(Pruner("htcondor").run()) == {stray.pid}
    assert [process.pid for process in gone(live)] == [stray.pid]


def test_jobs_of_one_account_back_to_back_are_all_left_alone(condor: ModuleType) -> None:
    cluster = condor.submit(ACCOUNT, "sleep 0.2 & sleep 0.1; wait", BACK_TO_BACK)
    pruner = Pruner("htcondor")
    strays: set[int] = set()
    began = time.monotonic()
    while condor.queue(cluster):
        assert time.monotonic() < began + BACK_TO_BACK + 300
        strays.add(strew(ACCOUNT, pruning.STRAYS[len(strays) % 2]))
        assert killed(pruner.run()) <= strays
    assert len(strays) > 2
    print(
        f"{BACK_TO_BACK} jobs, {len(strays)} runs, a stray each, in {time.monotonic() - began:.0f} s: no job was touched"
    )
    command = ["condor_history", str(cluster), "-af", "ExitCode", "NumJobStarts"]

    def ended() -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    until("the history to have them all", lambda: len(ended()) == BACK_TO_BACK)
    assert ended() == ["0 1"] * BACK_TO_BACK
    pruner.run()
    assert processes_of(ACCOUNT) == {}


def test_a_killed_master_costs_no_job_and_what_htcondor_gave_up_dies_once_it_says_so(condor: ModuleType) -> None:
    condor.submit(ACCOUNT, "exec sleep 5401", 3)
    until("the jobs to run", lambda: len(jobs_of(ACCOUNT)) == 3, 180)
    live = jobs_of(ACCOUNT)
    pruner = Pruner("htcondor")
    os.kill(daemon("condor_master"), signal.SIGKILL)
    for _ in range(pruning.RUNS):
        assert killed(pruner.run(seconds=5)) == set()
    assert gone(live) == []
    condor.stop()  # its daemons only: the jobs stay behind without them
    report = pruner.run(seconds=5)
    assert report.exit_code() == 75
    assert gone(live) == []
    condor.start()
    assert killed(pruner.run()) == set(live)
    # The schedd would wait for the starters to come back.
    subprocess.run(["condor_rm", "-all"], capture_output=True, check=True)
    subprocess.run(["condor_rm", "-all", "-forcex"], capture_output=True, check=True)
