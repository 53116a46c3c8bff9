"""The main job on a running site, shown step by step; runs inside the site (``make demo``).

Everything printed is what a command of the site answered.
"""

from __future__ import annotations

import json
import pwd
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

CREDENTIALS = Path("/srv/credentials")
BURN = "timeout {seconds} sh -c 'while :; do :; done'"
SCRIPTS = {
    "anna": f"#!/bin/sh\n{BURN.format(seconds=12)}\n",
    "bela": f"#!/bin/sh\n{BURN.format(seconds=6)}\nsetsid sleep 600 >/dev/null 2>&1 &\necho $! > stray.pid\nsleep 1\n",
    "chen": f"#!/bin/sh\n{BURN.format(seconds=9)}\n",
    "dora": "#!/bin/sh\ntouch dora-ran-here\n",
}
PATIENCE_SECONDS = 60


def main() -> None:
    """The story, from four people's credentials to the CPU table."""
    title("A proxy becomes an account, by the site's policy")
    show("gridwarden map --explain --proxy /srv/credentials/anna/proxy.pem")
    title("What is not a good credential is refused, each with its own reason")
    for kind in ("limited", "expired", "forged"):
        show(f"gridwarden map --proxy /srv/credentials/anna/{kind}.pem")

    title("Four people of two VOs submit jobs through the CE's path")
    jobs = {person: submit(person) for person in SCRIPTS}
    accounts = {person: account_of(job) for person, job in jobs.items()}
    wait("two jobs run", lambda: states().count("RUNNING") >= 2)
    show("squeue --format='%.5i %.10u %.9T %.6N %R'")

    title("Who is behind this process?")
    wait("a process of the first job", lambda: burner(accounts["anna"]) is not None)
    show(f"whoran {burner(accounts['anna'])}")
    moment = time.strftime("%H:%M:%S")

    title("One of them is banned while her job waits")
    show(f"gridwarden ban add '{subject('dora')}' --because 'her key was stolen'")
    show("gridwarden submit slurm --proxy /srv/credentials/dora/proxy.pem < /dev/null", "#!/bin/sh\ntrue\n")

    title("A job left a daemon behind; the epilog took it away, and whoran still knows it")
    stray = stray_of(accounts["bela"])
    wait(f"the second job ends and its stray {stray} is gone", lambda: not psutil.pid_exists(stray))
    wait("the record of it", lambda: run(["whoran", str(stray)]).returncode == 0)
    show(f"whoran {stray}")

    wait("all jobs end", lambda: not states())
    title("The banned one's job was cancelled before its first instruction; the nodes are idle")
    wait("Slurm's accounting has it", lambda: "CANCELLED" in sacct(jobs["dora"]))
    show(f"sacct -X -j {jobs['dora']} -o JobID,User,State%-16,Elapsed,Restarts,NodeList")
    show(f"find {pwd.getpwnam(accounts['dora']).pw_dir} -name dora-ran-here | wc -l")
    wait("both nodes are idle", lambda: run(["sinfo", "-h", "-N", "-o", "%T"]).stdout.split() == ["idle", "idle"])
    show("sinfo -N")

    title("The collector brings ledger and sacct together; who ran at a moment gone by?")
    show("gridwarden collect")
    show(f"whoran {moment}")
    title("CPU time by person; the parts add up to what Slurm counted")
    show("gridwarden report --since -1h --by identity --chart")


def title(text: str) -> None:
    """Begin a part of the story."""
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def run(arguments: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command of the site, both streams together."""
    return subprocess.run(
        arguments, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def show(command: str, stdin: str = "") -> None:
    """Print a command as an administrator would type it, and what it answers."""
    print(f"# {command}", flush=True)
    print(run(["bash", "-c", command.replace(" < /dev/null", "")], stdin).stdout, end="", flush=True)


def wait(what: str, done: Callable[[], bool]) -> None:
    """Say what is being waited for until it is there; the demo fails when it does not come."""
    print(f"   ... {what}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            sys.exit(f"demo: still waiting after {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.1)


def submit(person: str) -> str:
    """Submit a person's job for a whole node; the job's id."""
    proxy = str(CREDENTIALS / person / "proxy.pem")
    options = ["--proxy", proxy, "--ntasks", "2", "--job-name", "demo"]
    print(f"# gridwarden submit slurm {' '.join(options)} < {person}.sh", flush=True)
    done = run(["gridwarden", "submit", "slurm", *options], SCRIPTS[person])
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.split()[-1]


def states() -> list[str]:
    """The states of the jobs in the queue."""
    return run(["squeue", "-h", "-o", "%T"]).stdout.split()


def account_of(job: str) -> str:
    """The account that a job in the queue runs as."""
    return run(["squeue", "-h", "-j", job, "-o", "%u"]).stdout.strip()


def sacct(job: str) -> str:
    """The state of a job in Slurm's accounting."""
    return run(["sacct", "-X", "-n", "-P", "-j", job, "-o", "State"]).stdout.strip()


def burner(account: str) -> int | None:
    """A process deep inside the job of ``account``."""
    found = [
        process.pid
        for process in psutil.process_iter(["username", "name"])
        if process.info["username"] == account and process.info["name"] == "sh" and not process.children()
    ]
    return found[0] if found else None


def stray_of(account: str) -> int:
    """The process that the job of ``account`` says it left."""
    path = Path(pwd.getpwnam(account).pw_dir) / "stray.pid"
    wait("the second job daemonises a process", lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def subject(person: str) -> str:
    """The DN of a person, as the mapper sees it."""
    answer = run(["gridwarden", "map", "--format", "json", "--proxy", str(CREDENTIALS / person / "proxy.pem")])
    return str(json.loads(answer.stdout)[0]["subject"])


if __name__ == "__main__":
    main()
