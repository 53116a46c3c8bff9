"""Fork bombs against the pruner, in a pid namespace of their own, judged by a counter that no scan can miss.

Every process of a bomb counts in shared memory, so a bomb is dead when the counter stands still.  By hand, as root:
``python -m tests.proof.bombs [--runs N] [--way WAY] [--into bench/bombs.json]`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from gridwarden import proc
from gridwarden.batch.evidence import Answer, LiveJob
from gridwarden.prune import kill, strays
from gridwarden.prune.control_group import ROOTS
from gridwarden.prune.judge import Verdict, judge
from gridwarden.prune.outcome import Outcome
from gridwarden.prune.rules import Rules
from gridwarden.prune.signals import Uids
from gridwarden.prune.snapshot import take

ACCOUNT = 61500 + 100 * ("GRIDWARDEN_IN_SITE" in os.environ)  # each half of the tests its own: they share limits
OTHER = ACCOUNT + 1
INNOCENTS = 100
MOST_PROCESSES = 300  # of the account, which bounds every bomb
MOST_PIDS = 2000  # so that every number is used again within a second, by bombs and innocents alike
FORKING = 10  # of the live job's processes
SETTLING_SECONDS, WARM_UP_SECONDS, STILL_SECONDS, KILL_SECONDS = 0.2, 0.2, 0.3, 20.0

SOURCE = Path(__file__).with_name("bomb.c")


class Kind(NamedTuple):
    """A bomb: how many chains it begins with, whether a process stays when it has forked, and what it does first."""

    chains: int
    stays: bool
    leads_session: bool
    load: int


CPUS = os.cpu_count() or 1
KINDS = {
    "saturating": Kind(1, stays=True, leads_session=False, load=0),
    "hopping": Kind(20, stays=False, leads_session=False, load=0),
    "hopping with setsid": Kind(100, stays=False, leads_session=True, load=0),
    "hopping under CPU load": Kind(20, stays=False, leads_session=False, load=2 * CPUS),
}


WAYS = {
    "account": "the account has no job and is emptied",
    "beside": "the account has a live job, which must live",
    "group": "the same, and the bomb has a control group of its own",
    "naive": "what is seen in one look is killed, as a control",
}
BESIDE = ("beside", "group")


class Run(NamedTuple):
    """One bomb: whether it died, how many of the innocents lived, and how fast it forked before."""

    kind: str
    dead: bool
    innocents: int
    forks_a_second: int
    milliseconds: float
    left: list[str]


class Counter:
    """A number in memory that all processes of a bomb share."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("counter")
        os.ftruncate(self._descriptor, 8)
        self.file = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def value(self) -> int:
        return int.from_bytes(os.pread(self._descriptor, 8, 0), sys.byteorder)


def light(kind: Kind, counter: Counter, program: Path, group: Path | None) -> int:
    """The pid of the first process of a bomb that forks without end, within its limit."""
    numbers = map(int, (ACCOUNT, MOST_PROCESSES, kind.chains, kind.stays, kind.leads_session))

    def explode() -> None:
        if group:
            (group / "cgroup.procs").write_text("0")
        os.execv(program, [program, counter.file, *map(str, numbers)])  # noqa: S606 - no shell is wanted

    return child(explode)


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def child(work: Callable[[], object]) -> int:
    """The pid of a new process that does `work` and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def wait_for_ever() -> None:
    while True:
        signal.pause()


def burn() -> None:
    become(OTHER)
    while True:
        pass


def innocent(number: int) -> None:
    """Look like a stray of the account, in all but what counts."""
    Path("/proc/self/comm").write_text(("slurmstepd", "bash", "x) S 1 (y", "sh\n1 0")[number % 4])
    if number % 2:  # a daemon of root that acts for the account at the moment
        os.setresuid(0, ACCOUNT, 0)
    else:
        become(OTHER)
    wait_for_ever()


def job() -> None:
    """A live job of the account, which ends one of its processes for each that was hurt."""
    become(ACCOUNT)
    for number in range(INNOCENTS - 1):
        if os.fork() == 0:
            work() if number < FORKING else wait_for_ever()
    wait_for_ever()


def work() -> None:
    """Start programs for ever that all have to end well."""
    while True:
        time.sleep(0.01)
        try:
            pid = os.fork()
        except BlockingIOError:  # the bomb has all that the account may have
            continue
        if pid == 0:
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            os._exit(1)


@contextmanager
def innocents() -> Iterator[list[int]]:
    """Processes of others that look like strays of the account."""
    pids = [child(lambda: innocent(number)) for number in range(INNOCENTS)]  # noqa: B023 - runs in this turn
    time.sleep(SETTLING_SECONDS)
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def live_job() -> Iterator[list[int]]:
    """The processes of a live job of the account, its leader first."""
    leader = child(job)
    pids: list[int] = []
    while len(pids) < INNOCENTS:
        pids = [leader, *(process.pid for process in proc.everyone() if process.parent == leader)]
    yield pids
    kill.empty_account(Uids(ACCOUNT), ACCOUNT, KILL_SECONDS)
    os.waitpid(leader, 0)


def unharmed(pids: list[int]) -> int:
    return sum(process.state not in "TtZX" for process in map(proc.read, pids) if process)


@contextmanager
def control_group() -> Iterator[Path]:
    """A control group of version 2, of its own."""
    root = next(root for root in ROOTS if Path(root, "cgroup.controllers").exists())
    group = Path(root, f"gridwarden-test-{time.monotonic_ns()}")
    group.mkdir()
    yield group
    (group / "cgroup.kill").write_text("1")
    while "populated 1" in (group / "cgroup.events").read_text():
        time.sleep(0.01)
    group.rmdir()


def judged(leader: int) -> list[Verdict]:
    live = LiveJob(
        batch="slurm", job="1", node="n1", owner=ACCOUNT,
        roots={leader: proc.read(leader).start}, sessions=frozenset(), cgroups=(),
    )  # fmt: skip
    snapshot = take(lambda uid: "cms001" if uid == ACCOUNT else "")
    return judge(snapshot, [Answer("slurm", [live])], Rules())


def naive() -> Outcome:
    """The control: look once, and kill what was seen."""
    for process in proc.owned_by(ACCOUNT):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return Outcome()


def run(kind: str, way: str, program: Path) -> Run:
    """Light one bomb, and put it out in one of `WAYS`."""
    bomb, counter = KINDS[kind], Counter()
    with ExitStack() as stack:
        pids = stack.enter_context(live_job() if way in BESIDE else innocents())
        group = stack.enter_context(control_group()) if way == "group" else None
        started = [light(bomb, counter, program, group), *(child(burn) for _ in range(bomb.load))]
        while not counter.value():
            time.sleep(0.01)
        time.sleep(WARM_UP_SECONDS)
        forks, begun = counter.value(), time.perf_counter()
        if way in BESIDE:
            outcome = strays.kill_strays(Uids(ACCOUNT), ACCOUNT, lambda: judged(pids[0]), KILL_SECONDS)
        else:
            outcome = naive() if way == "naive" else kill.empty_account(Uids(ACCOUNT), ACCOUNT, KILL_SECONDS)
        took, after = time.perf_counter() - begun, counter.value()
        time.sleep(STILL_SECONDS)
        dead, alive = counter.value() == after, unharmed(pids)
        kill.empty_account(Uids(ACCOUNT), ACCOUNT, KILL_SECONDS)
        for pid in started:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    left = [f"{what}: {why}" for what, why in outcome.left]
    return Run(kind, dead, alive, int(forks / WARM_UP_SECONDS), took * 1000, left)


def apart(runs: int, kinds: list[str], way: str) -> list[Run]:
    """So many runs of each kind, in a pid namespace that ends with them; raises CalledProcessError, TimeoutExpired."""
    words = [sys.executable, "-m", "tests.site.init", sys.executable, "-m", "tests.proof.bombs", "--here"]
    words += ["--runs", str(runs), "--way", way, *kinds]
    unshared = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *words]
    done = subprocess.run(unshared, stdout=subprocess.PIPE, check=True, timeout=60 + 30 * runs * len(kinds))
    return [Run(*json.loads(line)) for line in done.stdout.splitlines()]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--way", choices=WAYS, default="account", help=", ".join(map(": ".join, WAYS.items())))
    parser.add_argument("--into", type=Path, help="enter the table in this file, of which docs/ makes its page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if not options.here:
        runs = apart(options.runs, options.kinds, options.way)
        print(table(runs))
        if options.into:
            enter(options.into, options.way, runs)
        return
    if tuple(map(int, platform.release().split(".")[:2])) >= (6, 14):  # before, the limit is the whole machine's
        Path("/proc/sys/kernel/pid_max").write_text(str(MOST_PIDS))
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "bomb")
        subprocess.run(["cc", "-O2", "-o", program, SOURCE], check=True)
        for kind in options.kinds * options.runs:
            print(json.dumps(run(kind, options.way, program)), flush=True)


class Row(NamedTuple):
    """What the runs of one kind came to: forks in a second before, milliseconds until the pruner returned."""

    kind: str
    forks_a_second: int
    runs: int
    dead: int
    innocents: int
    median: int
    most: int


def rows(runs: list[Run]) -> list[Row]:
    found = []
    for kind in dict.fromkeys(run.kind for run in runs):
        of_kind = [run for run in runs if run.kind == kind]
        found.append(
            Row(
                kind,
                forks_a_second=round(median(run.forks_a_second for run in of_kind)),
                runs=len(of_kind),
                dead=sum(run.dead for run in of_kind),
                innocents=min(run.innocents for run in of_kind),
                median=round(median(run.milliseconds for run in of_kind)),
                most=round(max(run.milliseconds for run in of_kind)),
            )
        )
    return found


def table(runs: list[Run]) -> str:
    lines = ["| bomb | fork calls/s | dead/runs | innocents alive/run | ms, median | ms, most |", "|---" * 6 + "|"]
    lines += [
        f"| {row.kind} | {row.forks_a_second} | {row.dead}/{row.runs} | {row.innocents}/{INNOCENTS} "
        f"| {row.median} | {row.most} |"
        for row in rows(runs)
    ]
    return "\n".join([*lines, *dict.fromkeys(line for run in runs for line in run.left)])


def enter(file: Path, way: str, runs: list[Run]) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    known[way] = {"what": WAYS[way], "innocents": INNOCENTS, "rows": [row._asdict() for row in rows(runs)]}
    file.write_text(json.dumps({name: known[name] for name in WAYS if name in known}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
