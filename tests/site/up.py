"""Brings a pristine site up around one command.

`run` is the part outside: it makes the namespaces and passes the command's exit code on. `main` is the part
inside: accounts' pool files, credentials, gridwarden itself, the daemons, the command.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.site import build, credentials, daemons, namespace, recipe
from tests.site.daemons import LOGS, Daemon, answers

CREDENTIALS = Path("/srv/credentials")
GRIDMAPDIR = Path("/etc/grid-security/gridmapdir")
# What a node takes of site-configs/pilot as it stands there.
PILOT_FILES = {
    "sudoers": ("/etc/sudoers.d/gridwarden-exec", "0440"),
    "pam": ("/etc/pam.d/gridwarden-exec", "0644"),
    "payload-environment": ("/etc/gridwarden/payload-environment", "0644"),
}
# What a Ctrl-C leaves the command for its last words before the site goes.
LAST_WORDS = 3.0


class SetupError(Exception):
    """A command of the setting up failed; the message is the command and what it said."""


RSYSLOGD = Daemon("rsyslogd", ("rsyslogd", "-n", "-iNONE"), LOGS / "syslog", Path("/dev/log").exists)
MUNGED = Daemon(
    "munged",
    ("munged", "--foreground", "--num-threads=4"),
    LOGS / "munge/munged.log",
    answers("munge", "--no-input"),
    user="munge",
    runtime=Path("/run/munge"),
)
MARIADBD = Daemon(
    "mariadbd",
    ("mariadbd",),
    LOGS / "mysql/error.log",
    answers("mariadb-admin", "ping", expect="alive"),
    user="mysql",
    runtime=Path("/run/mysqld"),
)
SLURMDBD = Daemon(
    "slurmdbd",
    ("slurmdbd", "-D"),
    LOGS / "slurm/slurmdbd.log",
    answers("sacctmgr", "--immediate", "--noheader", "list", "cluster"),
    user="slurm",
    runtime=Path("/run/slurmdbd"),
)
SLURMCTLD = Daemon(
    "slurmctld",
    ("slurmctld", "-D", "-i"),
    LOGS / "slurm/slurmctld.log",
    answers("scontrol", "ping", expect="UP"),
    user="slurm",
)
NODES = tuple(
    Daemon(
        f"slurmd-{name}",
        ("slurmd", "-D", "-N", name),
        LOGS / f"slurm/slurmd.{name}.log",
        answers("sinfo", "--noheader", "--nodes", name, "--format", "%T", expect="idle"),
    )
    for name in ("n1", "n2")
)


def run(suite: recipe.Suite, command: list[str]) -> int:
    """Bring a site up, run COMMAND in it as root, take the site down; COMMAND's exit code. Raises SiteError."""
    root, held = build.hold(suite)
    process = subprocess.Popen(namespace.command(suite.name, root, command), cwd=recipe.CHECKOUT, pass_fds=(held,))
    os.close(held)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(timeout=LAST_WORDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        return 128 + signal.SIGINT
    return code if code >= 0 else 128 - code


def main(command: list[str]) -> int:
    """Inside, as root: everything up, then COMMAND."""
    started = time.monotonic()
    os.umask(0o022)
    _network()
    shutil.chown("/etc/slurm/slurmdbd.conf", "slurm", "slurm")
    Path("/etc/slurm/slurmdbd.conf").chmod(0o600)
    # A file system of its own: an overlay's directory listing may give other inode numbers than lstat.
    _step("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(GRIDMAPDIR))
    for name in recipe.accounts():
        if name.rstrip("0123456789") in recipe.POOLS:
            (GRIDMAPDIR / name).touch()
    with ThreadPoolExecutor() as beside:
        made = beside.submit(_make_credentials)
        installed = beside.submit(_install_gridwarden)
        _bring_up([RSYSLOGD, MUNGED, MARIADBD])
        _database()
        _bring_up([SLURMDBD])
        _step("sacctmgr", "--immediate", "add", "cluster", "site")
        _say("waiting for gridwarden's wheel")
        installed.result()
        _bring_up([SLURMCTLD])
        _bring_up(list(NODES))
        _say("waiting for credentials")
        made.result()
    _say(f"up after {time.monotonic() - started:.1f} s")
    return _run_command(command)


def _network() -> None:
    _step("ip", "link", "set", "lo", "up")
    # Without an address beyond 127.0.0.1, getaddrinfo(AI_ADDRCONFIG) finds no name at all.
    _step("ip", "address", "add", "10.255.255.1/32", "dev", "lo")


def _bring_up(which: list[Daemon]) -> None:
    for running in [daemons.start(daemon) for daemon in which]:
        daemons.wait_ready(running, _say)


def _database() -> None:
    statements = (
        "CREATE DATABASE slurm_acct_db; CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;"
        "GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
    )
    _step("mariadb", "--execute", statements)


def _make_credentials() -> None:
    grid = credentials.make(CREDENTIALS)
    for trusted in (grid.certificates, grid.vomsdir):
        shutil.copytree(trusted, Path("/etc/grid-security") / trusted.name, dirs_exist_ok=True)


def _install_gridwarden() -> None:
    """Build the checkout's wheel and install it as a site would, then what gridwarden sets up itself."""
    source = Path("/tmp/source")  # the site's own tmpfs, before anyone else runs
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "bench")
    shutil.copytree("/src", source, symlinks=True, ignore=unwanted)
    pip = ("/opt/gridwarden/bin/python", "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation")
    _step(*pip, str(source))
    shutil.rmtree(source)
    _step("gridwarden", "config", "install")
    _step("gridwarden", "hooks", "install", "--glexec", "/usr/sbin/glexec")
    for name, (place, mode) in PILOT_FILES.items():
        _step("install", "--mode", mode, f"/src/site-configs/pilot/{name}", place)


def _run_command(command: list[str]) -> int:
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"site: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    # The terminal sends Ctrl-C to the command as well: it says its last words, then the site goes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _step(*command: str) -> None:
    """Run a command that has to succeed; what it says matters only if it does not. Raises SetupError."""
    done = subprocess.run(list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")


def _say(message: str) -> None:
    print(f"site: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (daemons.DaemonError, SetupError) as problem:
        _say(str(problem))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
