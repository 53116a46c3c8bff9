"""Starts the site's daemons in the foreground and waits until each one answers."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LOGS = Path("/var/log")
DEADLINE = 60.0
POLL = 0.02


class DaemonError(Exception):
    """A daemon ended or did not answer in time; the message holds the end of its log."""


class Daemon(NamedTuple):
    """How to start one daemon: `user` to run as, directory to make for it first, its log, its proof of life."""

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    user: str = "root"
    runtime: Path | None = None


class Running(NamedTuple):
    daemon: Daemon
    process: subprocess.Popen[bytes]
    output: Path


def start(daemon: Daemon) -> Running:
    if daemon.runtime is not None:
        daemon.runtime.mkdir(mode=0o755, exist_ok=True)
        subprocess.run(["chown", f"{daemon.user}:", str(daemon.runtime)], check=True)
    output = LOGS / f"{daemon.name}.out"
    # A session of its own keeps the terminal's Ctrl-C away from it.
    with output.open("wb") as sink:
        process = subprocess.Popen(
            list(daemon.command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            user=daemon.user,
            group=daemon.user,
            extra_groups=[],
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            cwd="/",
        )
    return Running(daemon, process, output)


def wait_ready(running: Running, say: Callable[[str], None]) -> None:
    """Poll until the daemon answers. Raises DaemonError with the tail of its log."""
    say(f"waiting for {running.daemon.name}")
    deadline = time.monotonic() + DEADLINE
    while not running.daemon.ready():
        status = running.process.poll()
        if status is not None:
            raise DaemonError(_because(running, f"ended with status {status}"))
        if time.monotonic() > deadline:
            raise DaemonError(_because(running, f"did not answer within {DEADLINE:.0f} s"))
        time.sleep(POLL)


def answers(*command: str, expect: str = "") -> Callable[[], bool]:
    """A proof of life: COMMAND exits 0 and prints EXPECT somewhere."""

    def ask() -> bool:
        done = subprocess.run(list(command), capture_output=True, text=True, check=False)
        return done.returncode == 0 and expect in done.stdout

    return ask


def _because(running: Running, what: str) -> str:
    lines = [f"{running.daemon.name} {what}: {' '.join(running.daemon.command)}"]
    for log in (running.output, running.daemon.log):
        if log.is_file():
            lines.append(f"  the end of {log}:")
            lines += [f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:]]
    return "\n".join(lines)
