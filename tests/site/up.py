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

from tests.site import build, credentials, daemons, host, namespace, recipe
from tests.site.daemons import Daemon, answers

LOGS = Path("/var/log")
CREDENTIALS = Path("/srv/credentials")
GRIDMAPDIR = Path("/etc/grid-security/gridmapdir")
# What a Ctrl-C leaves the command for its last words before the site goes.
LAST_WORDS = 5.0

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


def run(command: list[str]) -> int:
    """Bring a site up, run COMMAND in it as root, take the site down; COMMAND's exit code. Raises SiteError."""
    lacks = host.lacks_for_running()
    if lacks:
        raise host.SiteError("the site cannot be brought up; missing are " + "; ".join(lacks))
    root = build.build()
    held = host.lock(root.with_suffix(".lock"), exclusive=False)
    assert held is not None
    process = subprocess.Popen(namespace.command(root, command), cwd=recipe.CHECKOUT, pass_fds=(held,))
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
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(GRIDMAPDIR)], check=True)
    for name in recipe.accounts():
        if name.rstrip("0123456789") in recipe.POOLS:
            (GRIDMAPDIR / name).touch()
    with ThreadPoolExecutor() as beside:
        made = beside.submit(_make_credentials)
        installed = beside.submit(_install_gridwarden)
        _bring_up([RSYSLOGD, MUNGED, MARIADBD])
        _database()
        _bring_up([SLURMDBD])
        subprocess.run(["sacctmgr", "--immediate", "add", "cluster", "site"], check=True, stdout=subprocess.DEVNULL)
        _say("waiting for gridwarden's wheel")
        installed.result()
        _bring_up([SLURMCTLD])
        _bring_up(list(NODES))
        _say("waiting for credentials")
        made.result()
    _say(f"up after {time.monotonic() - started:.1f} s")
    return _run_command(command)


def _network() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Without an address beyond 127.0.0.1, getaddrinfo(AI_ADDRCONFIG) finds no name at all.
    subprocess.run(["ip", "address", "add", "10.255.255.1/32", "dev", "lo"], check=True)


def _bring_up(which: list[Daemon]) -> None:
    for running in [daemons.start(daemon) for daemon in which]:
        daemons.wait_ready(running, _say)


def _database() -> None:
    statements = (
        "CREATE DATABASE slurm_acct_db; CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;"
        "GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
    )
    subprocess.run(["mariadb", "--execute", statements], check=True)


def _make_credentials() -> None:
    grid = credentials.make(CREDENTIALS)
    for trusted in (grid.certificates, grid.vomsdir):
        shutil.copytree(trusted, Path("/etc/grid-security") / trusted.name, dirs_exist_ok=True)


def _install_gridwarden() -> None:
    """Build the checkout's wheel and install it as a site would, then what gridwarden sets up itself."""
    source = Path("/tmp/source")  # noqa: S108  # the site's own tmpfs, before anyone else runs
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "bench")
    shutil.copytree("/src", source, symlinks=True, ignore=unwanted)
    pip = ["/opt/gridwarden/bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", str(source)], check=True)
    shutil.rmtree(source)
    for words in (("config", "install"), ("hooks", "install")):
        # TEMPORARY: until both commands exist, a site without them comes up with hooks that do nothing.
        if subprocess.run(["gridwarden", *words], check=False).returncode != 0:
            _stand_in_hooks()


def _stand_in_hooks() -> None:
    """TEMPORARY, see above."""
    libexec = Path("/usr/libexec/gridwarden")
    libexec.mkdir(exist_ok=True)
    for name in ("slurm-prolog", "slurm-epilog"):
        if not (libexec / name).exists():
            (libexec / name).write_text("#!/bin/sh\nexit 0\n")
            (libexec / name).chmod(0o755)
    lua = Path("/etc/slurm/job_submit.lua")
    if not lua.exists():
        lua.write_text(
            "function slurm_job_submit() return slurm.SUCCESS end\n"
            "function slurm_job_modify() return slurm.SUCCESS end\nreturn slurm.SUCCESS\n"
        )


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


def _say(message: str) -> None:
    print(f"site: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (daemons.DaemonError, subprocess.CalledProcessError) as problem:
        _say(str(problem))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
