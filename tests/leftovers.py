"""What a failed test left behind, ended and put right, so that it is the only one that fails."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from gridwarden import agent_client, proc, register
from tests.killing import kill
from tests.site import agent, daemons, up
from tests.site.slurm import running_daemons, until

HOLDERS = Path("/run/gridwarden/holders")
REGISTER = Path("/run/gridwarden/jobs")
DIRECTORIES = (Path("/etc/gridwarden"), Path("/etc/slurm"))
# They stay, and start what a test has no part in.
DAEMONS = ("condor_", "mariadbd", "munged", "postgres", "rsyslog", "rs:main", "slurm")
SECONDS = 60.0
FAILED = pytest.StashKey[bool]()


def failed(item: pytest.Item) -> bool:
    """Whether it has failed, in whichever phase."""
    return FAILED in item.stash


def now() -> int:
    """The time as ``proc.Process.start`` has it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // (1000 * proc.MICROSECONDS_A_TICK)


def end_processes(since: int) -> None:
    """Kill whoever has started since, where all processes are those of the tests; daemons of the site stay."""
    if os.geteuid() != 0 or b"tests.site.init" not in Path("/proc/1/cmdline").read_bytes():
        return
    began = [process for process in proc.everyone() if process.start >= since]
    kill(*(process.pid for process in began if not process.command.startswith(DAEMONS)))


class File(NamedTuple):
    """A file as it was."""

    data: bytes
    mode: int
    uid: int
    gid: int


class Site:
    """The running site as a test finds it: its settings, leases, and what its register has."""

    def __init__(self) -> None:
        self._since, self._began = now(), int(time.time())
        self._files = files()
        self._names = names()
        self._registered = set(registered())

    def put_right(self) -> None:
        """As it was found; what was started or submitted since is ended."""
        end_processes(self._since)
        if not agent_client.status(agent.SOCKET):
            agent.clear()
        changed = self._restore()
        for daemon, running in (
            (up.SLURMCTLD, running_daemons("slurmctld")),
            *((node, running_daemons("slurmd", node.command[-1])) for node in up.NODES),
        ):
            for process in running:
                process.resume()
            if not running:
                daemons.wait_ready(daemons.start(daemon), lambda _: None)
        if any(path.is_relative_to("/etc/slurm") for path in changed):
            run("scontrol", "reconfigure")
        self._end_jobs()
        run("scontrol", "update", "nodename=ALL", "state=resume")
        with suppress(AssertionError):
            until(
                "the nodes to be usable", lambda: not re.search("[*]|drain|down", run("sinfo", "--format=%T")), SECONDS
            )
        for path in names() - self._names:
            path.unlink(missing_ok=True)

    def _restore(self) -> set[Path]:
        """Have the files as they were; those that were not."""
        found = files()
        changed = {path for path in found.keys() | self._files.keys() if found.get(path) != self._files.get(path)}
        for path in changed:
            path.unlink(missing_ok=True)
            if was := self._files.get(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(was.data)
                os.chown(path, was.uid, was.gid)
                path.chmod(was.mode)
        return changed

    def _end_jobs(self) -> None:
        if any(process.command == "condor_schedd" for process in proc.everyone()):
            run("condor_rm", "-all")
        if jobs := self._jobs():
            run("scancel", *jobs)
            with suppress(AssertionError):
                until("the failed test's jobs to end", lambda: not self._jobs(), SECONDS)
        with suppress(AssertionError):
            until("their epilogs", lambda: set(registered()) <= self._registered, SECONDS / 4)
        for account, name in set(registered()) - self._registered:
            register.leave(REGISTER, account, name)

    def _jobs(self) -> list[str]:
        """Those in Slurm's queue that were submitted since."""
        lines = [line.split() for line in run("squeue", "--all", "--noheader", "--format=%A %V").splitlines()]
        then = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(self._began))
        return [number for number, submitted in lines if submitted >= then]


def files() -> dict[Path, File]:
    """What the settings of gridwarden and Slurm are made of."""
    found = {}
    for path in (path for directory in DIRECTORIES for path in directory.rglob("*")):
        with suppress(FileNotFoundError):  # an agent may be writing a copy of site.yaml anew
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found[path] = File(path.read_bytes(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    return found


def names() -> set[Path]:
    """Every file that a lease or its end can make, but for the registry, which never forgets."""
    own = up.GRIDMAPDIR / ".gridwarden"
    places = (up.GRIDMAPDIR, HOLDERS, own / "leases", own / "cooling")
    return {path for place in places for path in place.glob("*") if path.is_file()}


def registered() -> list[tuple[str, str]]:
    """Account and name of each job that the node's register has."""
    return [(path.parent.name, path.name) for path in REGISTER.glob("*/*")]


def run(*command: str) -> str:
    """What a command prints, whether it works or not: the test has failed already."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
