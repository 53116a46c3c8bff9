"""Slurm's adapter: text of squeue, scontrol and sacct, which 22.05 and 24.11 print alike."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gridwarden import node_file
from tests.scenarios import batch
from tests.scenarios.batch import RefusedError, Shape
from tests.site import daemons, up
from tests.site.slurm import pids, run_as, running_daemons, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CROWD = "partitionname=crowd"
PROLOG = Path("/usr/libexec/gridwarden/slurm-prolog")
WORDS = {
    "PENDING": batch.WAITING,
    "CONFIGURING": batch.WAITING,
    "RUNNING": batch.RUNNING,
    "COMPLETING": batch.RUNNING,
    "SUSPENDED": batch.SUSPENDED,
    "COMPLETED": batch.COMPLETED,
    "FAILED": batch.FAILED,
    "CANCELLED": batch.CANCELLED,
    "NODE_FAIL": batch.LOST,
}
CONTROLLER_KEYS = {"on_prolog_failure": "prolog_on_failure", "on_epilog_failure": "epilog_on_failure"}


class Slurm:
    """The site's Slurm."""

    name = "slurm"
    nodes = ("n1", "n2")

    def __init__(self) -> None:
        version = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=True).stdout
        numbers = re.findall(r"\d+", version)
        self._where: list[str] = []
        self.has_stamps = (int(numbers[0]), int(numbers[1])) >= (23, 2)

    def submit(self, proxy: Path, script: str, shape: Shape) -> str:
        command = ["gridwarden", "submit", "slurm", "--proxy", str(proxy), *self._options(shape)]
        text = f"#!/bin/bash\n{_lines(shape)}{script}\n"
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RefusedError(done.stderr)
        return done.stdout.strip()

    def submit_as(self, account: str, script: str, shape: Shape) -> str:
        extra = ["--extra=mine"] if self.has_stamps else []
        text = f"#!/bin/bash\n{_lines(shape)}{script}\n"
        done = run_as(account, "sbatch", "--parsable", "--output=/dev/null", *extra, *self._options(shape), text=text)
        if done.returncode != 0:
            raise RefusedError(done.stderr)
        return done.stdout.strip().split(";")[0]

    def release(self, job: str) -> None:
        _run("scontrol", "release", job)

    def cancel(self, job: str) -> None:
        _run("scancel", job)

    def suspend(self, job: str) -> None:
        _run("scontrol", "suspend", job)

    def resume(self, job: str) -> None:
        _run("scontrol", "resume", job)

    def requeue(self, job: str) -> None:
        _run("scontrol", "requeue", job)

    def run_again(self, job: str) -> None:
        """Have a job that was put back run at once: Slurm would have it wait two minutes.

        Beside another start on its node 22.05 would start it without its prolog: docs/slurm-behaviour.md.
        """
        self._hold_back(job)
        self.release(job)

    def run_again_unjudged(self, job: str) -> None:
        self._hold_back(job)
        if self.has_stamps:  # as while slurm.conf names no Prolog
            text = PROLOG.read_bytes()
            PROLOG.write_text("#!/bin/sh\n")
            try:
                self.release(job)
                until("it to have begun", lambda: pids(int(job)) or self.states(job) == [batch.CANCELLED])
            finally:
                PROLOG.write_bytes(text)
        else:
            _run("srun", "--nodelist=n1", "--mem=1", "true")
            self.release(job)

    def states(self, job: str) -> list[str]:
        command = ["squeue", "--all", "--noheader", "--states=all", "--array", f"--jobs={job}", "--format=%T %Q"]
        found = []
        for line in _run(*command).splitlines():
            state, priority = line.split()
            held = state == "PENDING" and priority == "0"
            found.append(batch.HELD if held else WORDS[state])
        return found

    def numbers(self, job: str) -> list[str]:
        command = ["squeue", "--all", "--noheader", "--states=all", "--array", f"--jobs={job}", "--format=%A"]
        return _run(*command).split()

    def wait_accounted(self, jobs: list[str]) -> None:
        command = ["sacct", "--allusers", "--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,End"]

        def ended() -> bool:
            rows = dict(line.split("|") for line in _run(*command, f"--jobs={','.join(jobs)}").splitlines())
            return set(rows) >= set(jobs) and "Unknown" not in rows.values()

        until("sacct to know all ends", ended)

    def change_stamp(self, job: str, account: str) -> list[str]:
        tries = ("extra=" + "f" * 32, "extra=", "admincomment=mine")
        done = [run_as(account, "scontrol", "update", f"jobid={job}", change) for change in tries]
        return [one.stderr for one in done if one.returncode != 0]

    def stamp(self, job: str) -> str:
        found = re.search(r"\bExtra=(\S*)", _run("scontrol", "show", "job", job))
        return found[1] if found else ""

    def node_state(self, node: str) -> str:
        state = _run("sinfo", "--noheader", f"--nodes={node}", "--format=%T").split()[0]
        return batch.DRAINED if "drain" in state else batch.USABLE

    def use_again(self, node: str) -> None:
        _run("scontrol", "update", f"nodename={node}", "state=resume")
        until(f"{node} to be usable", lambda: self.node_state(node) == batch.USABLE)

    def restart_controller(self) -> None:
        restart_controller()

    def restart_daemon(self, node: str) -> None:
        (daemon,) = running_daemons("slurmd", node)
        daemon.kill()
        self._start(node)

    def lose(self, node: str) -> None:
        processes = running_daemons("slurmd", node)
        log = f"/var/log/slurm/slurmd.{node}.log"
        for step in running_daemons("slurmstepd"):
            with suppress(psutil.NoSuchProcess):
                if log in {file.path for file in step.open_files()}:
                    processes += [step, *step.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a step ends by itself once its task has been killed
                process.kill()
        _run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def regain(self, node: str) -> None:
        self._start(node)
        asked = ["sinfo", "--noheader", f"--nodes={node}", "--format=%T"]
        until(f"{node} to be idle", lambda: _run(*asked).strip() == "idle")
        back = time.monotonic()  # slurmd ends what it lost, by the job's number: not also the job's next run
        until("that to be over", lambda: time.monotonic() > back + 2)

    @contextmanager
    def crowd(self) -> Iterator[None]:
        """Many jobs fit at once, as long as they do next to nothing; elsewhere sinfo shows each node once."""
        _run("scontrol", "create", CROWD, "nodes=ALL", "maxtime=infinite", "state=up", "oversubscribe=force:60")
        self._where = ["--partition=crowd"]
        try:
            yield
        finally:
            self._where = []
            _run("scontrol", "delete", CROWD)

    def _options(self, shape: Shape) -> list[str]:
        words = [*self._where, "--mem=1"]
        if shape.nodes > 1:
            words += [f"--nodes={shape.nodes}", f"--ntasks={shape.nodes}"]
        if shape.node:
            words.append(f"--nodelist={shape.node}")
        if shape.tasks:
            words.append(f"--array=1-{shape.tasks}")
        return words

    def _hold_back(self, job: str) -> None:
        until("the job to be put back", lambda: self.states(job) == [batch.WAITING])
        _run("scontrol", "hold", job)
        _run("scontrol", "update", f"jobid={job}", "starttime=now")
        back = time.monotonic()  # slurmd refuses a credential of the second in which it has revoked the last one
        until("that second to be over", lambda: time.monotonic() > back + 2)

    def _start(self, node: str) -> None:
        daemon = up.NODES[self.nodes.index(node)]
        daemons.start(daemon)
        until(f"{node} to listen", lambda: _listens(16821 + self.nodes.index(node)))

    @contextmanager
    def choosing(self, **values: str) -> Iterator[None]:
        before = node_file.read()
        given = {CONTROLLER_KEYS.get(name, name): value for name, value in values.items()}
        pairs = [(name, one) for name, all_of_it in before.items() for one in all_of_it]
        changed = [(name, given.get(name, one)) for name, one in pairs]
        node_file.write(node_file.PATH, [*changed, *((name, one) for name, one in given.items() if name not in before)])
        try:
            yield
        finally:
            node_file.write(node_file.PATH, pairs)


def _lines(shape: Shape) -> str:
    return ("#SBATCH --hold\n" if shape.held else "") + ("" if shape.requeue else "#SBATCH --no-requeue\n")


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def restart_controller() -> None:
    """In good order, as an upgrade does: killed, it would forget the last seconds' jobs."""
    (controller,) = running_daemons("slurmctld")
    controller.terminate()
    until("slurmctld to end", lambda: not controller.is_running() or controller.status() == psutil.STATUS_ZOMBIE)
    daemons.wait_ready(daemons.start(up.SLURMCTLD), lambda _: None)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}")
    return done.stdout
