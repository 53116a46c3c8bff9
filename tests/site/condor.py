"""The site's HTCondor: up when a test first asks for it, and what tests ask of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.site import daemons
from tests.site.daemons import LOGS, Daemon
from tests.site.slurm import run_as, until

DIRECTORIES = (
    Path("/run/condor"),
    Path("/run/lock/condor"),
    Path("/var/lib/condor/execute"),
    Path("/var/log/condor"),
    Path("/var/spool/condor"),
)
RUNNING = 2  # JobStatus
MASTER = Daemon(
    "condor_master",
    ("condor_master", "-f"),
    LOGS / "condor/MasterLog",
    daemons.answers("sh", "-c", "condor_status -af Name && condor_q -totals", expect="slot1"),
    runtime=None,
)
SUBMIT = """\
executable = /bin/bash
transfer_executable = false
should_transfer_files = no
initialdir = {home}
arguments = "-c '{script}'"
{options}
queue {count}
"""


def start() -> None:
    """Bring the pool up. Raises DaemonError."""
    for directory in DIRECTORIES:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.chown(directory, "condor", "condor")
    daemons.wait_ready(daemons.start(MASTER), lambda _: None)


def stop() -> None:
    """End it with all its jobs at once: in good order, the startd alone takes 5 s."""
    ended = [process for process in psutil.process_iter(["name", "uids"]) if is_daemon(process)]
    for process in ended:
        with suppress(psutil.NoSuchProcess):  # daemons end with their master, too
            process.kill()
    psutil.wait_procs(ended, 30)


def is_daemon(process: psutil.Process) -> bool:
    return process.info["name"].startswith("condor_") and process.info["uids"].real == 0


def submit(user: str, script: str, count: int = 1, **options: str) -> int:
    """Submit `bash -c SCRIPT` (no quotes in it) as the user themselves would; the cluster's number."""
    lines = "".join(f"{key} = {value}\n" for key, value in options.items())
    text = SUBMIT.format(home=os.path.expanduser(f"~{user}"), script=script, options=lines, count=count)
    done = run_as(user, "condor_submit", "-terse", "-", text=text)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split(".")[0])


def queue(cluster: int | None = None) -> list[dict[str, Any]]:
    """The jobs in the queue, of one cluster or of all."""
    which = ["-all"] if cluster is None else [str(cluster)]
    done = subprocess.run(["condor_q", *which, "-json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "[]")


def running(cluster: int) -> int:
    """How many jobs of the cluster run."""
    return sum(job["JobStatus"] == RUNNING for job in queue(cluster))


def wait_running(cluster: int, count: int = 1) -> None:
    until(f"{count} jobs of cluster {cluster} to run", lambda: running(cluster) >= count, 120)
