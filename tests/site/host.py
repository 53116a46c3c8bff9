"""What the machine below the test site must offer, and how to get what it lacks."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.site import recipe

if TYPE_CHECKING:
    from pathlib import Path

RUN_PROGRAMS = {"unshare": "util-linux", "setpriv": "util-linux", "mount": "mount"}
BUILD_PROGRAMS = {"debootstrap": "debootstrap", "chroot": "coreutils"}


class SiteError(Exception):
    """The site cannot be built or brought up; the message says why and what to do."""


def lacks(suite: recipe.Suite = recipe.TRIXIE) -> list[str]:
    """What is missing for bringing a site up, its root included, one sentence each; empty if nothing is."""
    if os.geteuid() != 0:
        return [*_missing(RUN_PROGRAMS), "root: namespaces and mounts need it; run the same command with sudo"]
    if recipe.root_directory(suite).is_dir():
        return _missing(RUN_PROGRAMS)
    missing = _missing(RUN_PROGRAMS | BUILD_PROGRAMS)
    if importlib.util.find_spec("pip") is None:
        missing.append("pip: run with .venv/bin/python (`make site` makes it)")
    return missing


def why_no_site(suite: recipe.Suite = recipe.TRIXIE) -> str | None:
    """Why no site can come up at once, for a skip or a failure; None if one can."""
    missing = lacks(suite)
    if missing:
        return "no test site; missing are " + "; ".join(missing)
    return None if recipe.root_directory(suite).is_dir() else "no test site yet; as root: make site"


def unshared(*namespaces: str) -> list[str]:
    """How to begin a command line so that it runs in namespaces of its own and dies, all of it, with the caller."""
    unshare = ["unshare", "--fork", "--kill-child=KILL", "--propagation", "private"]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, *(f"--{namespace}" for namespace in namespaces)]


def run_apart(command: list[str]) -> int:
    """Run COMMAND where root has no process but its own and sees none of the machine's; its exit code.

    Two runs of the tests then do not meet, though they use the same uids.  Others than root have no such
    namespaces, and need none: they cannot signal anybody else.
    """
    if os.geteuid() == 0:
        command = [*unshared("mount", "pid", "ipc"), "--mount-proc", sys.executable, "-m", "tests.site.init", *command]
    return subprocess.run(command, check=False).returncode


def lock(path: Path, *, exclusive: bool, wait: bool = True) -> int:
    """Flock PATH, creating it; the descriptor. Raises BlockingIOError if it is taken and `wait` is false."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def _missing(programs: dict[str, str]) -> list[str]:
    return [
        f"{program}: on Debian or Ubuntu, apt-get install {package}"
        for program, package in programs.items()
        if shutil.which(program) is None
    ]
