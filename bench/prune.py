"""What one look at all processes costs: gridwarden, C doing the same reads, ps and psutil, in turn, in CPU time.

Nothing of it waits, so that CPU time is what it takes on a machine that has nothing else to do.

Run as root.  A quiet run is measured in the test site, the rest in a pid namespace with nothing but idle processes::

    .venv/bin/python bench/prune.py --json > bench/prune.json
    make docs
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

import psutil
from interleaved import cpu_milliseconds, in_turn, parser
from prune_page import page

from gridwarden.batch.evidence import Answer
from gridwarden.prune import snapshot
from gridwarden.prune.judge import judge
from gridwarden.prune.rules import Rules

SIZES = (200, 2000, 10_000)
POOL_UID, OUTSIDER_UID = 61031, 61032
ROUNDS = 15
IN_NAMESPACE = "GRIDWARDEN_BENCH_APART"
APART = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]


def main() -> None:
    """Measure and print, or print the table of what was measured."""
    options = parser(__doc__, ROUNDS)
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = options.parse_args()
    if IN_NAMESPACE not in os.environ:
        words = [*APART, sys.executable, *sys.argv]
        sys.exit(subprocess.run(words, env=os.environ | {IN_NAMESPACE: quiet_run()}, check=False).returncode)
    with tempfile.TemporaryDirectory() as directory:
        scan = f"{directory}/scan"
        subprocess.run(["cc", "-O2", "-o", scan, Path(__file__).parent / "scan.c"], check=True)
        rows = [
            measure(scan, size, uid, arguments.rounds) for size in arguments.sizes for uid in (OUTSIDER_UID, POOL_UID)
        ]
    quiet = json.loads(os.environ[IN_NAMESPACE])
    result = {"python": sys.version.split()[0], "rounds": arguments.rounds, "quiet": quiet, "rows": rows}
    print(json.dumps(result, indent=1) if arguments.json else page(result))


def quiet_run() -> str:
    """What bench/prune_quiet.py measures inside the test site."""
    words = [sys.executable, "-m", "tests.site", "run", "--", "python3", "/src/bench/prune_quiet.py"]
    return subprocess.run(words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(scan: str, size: int, uid: int, rounds: int) -> dict[str, object]:
    """The median CPU milliseconds of each way to look at ``size`` idle processes of ``uid``."""
    with idle(scan, size, uid), running([scan, str(POOL_UID), str(POOL_UID)]) as floor:
        counted: list[str] = []

        def in_c() -> float:
            floor.stdin.write("\n")
            floor.stdin.flush()
            nanoseconds, *counted[:] = floor.stdout.readline().split()
            return int(nanoseconds) / 1e6

        works = {"ours": look, "judge": judging(), "ps": ps, "psutil": with_psutil}
        taken = in_turn({"c": in_c, **{name: cpu_milliseconds(work) for name, work in works.items()}}, rounds)
        passed, read = map(int, counted)
    ratio = statistics.median(ours / c for ours, c in zip(taken["ours"], taken["c"], strict=True))
    medians = {name: round(statistics.median(times), 2) for name, times in taken.items()}
    return {"processes": passed, "read": read, "ratio": round(ratio, 2), **medians}


def account_of(uid: int) -> str:
    """The account of the bench's only pool."""
    return "cms001" if uid == POOL_UID else ""


def look() -> object:
    """What the pruner reads."""
    return snapshot.take(account_of)


def judging() -> Callable[[], object]:
    """What judging costs on top, with nobody's job here."""
    answers = [Answer("slurm", [])]
    seen = snapshot.take(account_of)
    return lambda: judge(seen, answers, Rules())


def ps() -> object:
    """What programs that parse ps pay: the whole program."""
    return subprocess.run(["ps", "-eo", "pid,ppid,uid,lstart"], capture_output=True, check=True).stdout


def with_psutil() -> object:
    """The same of every process through psutil, as in a program that has just started."""
    psutil.process_iter.cache_clear()
    return [process.info for process in psutil.process_iter(["pid", "ppid", "uids", "create_time"])]


@contextmanager
def idle(scan: str, size: int, uid: int) -> Iterator[None]:
    """So many idle processes of ``uid``."""
    with running([scan, "idle", str(size), str(uid)]) as process:
        if process.stdout.readline() != "started\n":
            sys.exit("the idle processes cannot be started")
        while len(os.listdir("/proc")) < size:
            time.sleep(0.01)
        time.sleep(0.2)
        yield
    with suppress(ChildProcessError):  # this is their namespace's first process
        while True:
            os.wait()


@contextmanager
def running(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A program to talk to, which ends when it has nothing more to read."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


if __name__ == "__main__":
    main()
