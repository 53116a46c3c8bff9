"""What the stories of the pruner share: runs that kill, live jobs to be spared, strays to be found."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gridwarden import node_file, proc
from gridwarden.prune.report import KILLED, Report
from gridwarden.prune.sweep import sweep
from gridwarden.prune_settings import Prune
from tests.proof import LONG
from tests.site.slurm import run_as, until

RUNS = 100 if LONG else 12
RUN_SECONDS = 60.0
STRAYS = (
    "setsid sleep {n}",
    "setsid nohup sleep {n}",
    "exec -a 'slurmstepd: [7.batch]' setsid sleep {n}",
    "exec -a 'condor_starter -f -a slot1_1 127.0.0.1' setsid sleep {n}",
    "cp /usr/bin/sleep $HOME/slurmstepd && exec setsid $HOME/slurmstepd {n}",
    "cp /usr/bin/sleep $HOME/condor_starter && exec setsid $HOME/condor_starter {n}",
    "SLURM_JOB_ID=1 _CONDOR_SLOT=slot1_1 exec setsid sleep {n}",
)


SIBLING = """\
import ctypes, os
is_child = ctypes.CDLL(None).syscall(435, (ctypes.c_uint64 * 8)(0x8000), 64) == 0  # clone3(2) with CLONE_PARENT
if is_child:
    os.setsid()
os.execlp("sleep", "sleep", "{child}" if is_child else "{itself}")
"""


class Pruner:
    """gridwarden-prune as a site runs it that has switched killing on, for these batch systems."""

    def __init__(self, *batch: str) -> None:
        values: dict[str, list[str]] = {}
        for key, value in Prune.model_validate({"kill": True, "batch": batch}).node_pairs():
            values.setdefault(key, []).append(value)
        self.site = node_file.read() | values

    def run(self, seconds: float = RUN_SECONDS) -> Report:
        return sweep(self.site, kill=True, seconds=seconds)


def killed(report: Report) -> set[int]:
    return {int(str(row["pid"])) for row in report.rows if row["action"] == KILLED}


def processes_of(account: str) -> dict[int, proc.Process]:
    return {process.pid: process for process in proc.owned_by(pwd.getpwnam(account).pw_uid)}


def gone(processes: dict[int, proc.Process]) -> list[proc.Process]:
    """Those that have ended since."""
    return [one for one in processes.values() if not is_alive(one)]


def is_alive(process: proc.Process) -> bool:
    now = proc.read(process.pid)
    return now is not None and now.start == process.start and not now.has_ended()


def sleepers(account: str) -> set[str]:
    """How long each ``sleep`` of the account sleeps, which tells the tests' processes apart."""
    words = [_words(pid) for pid in processes_of(account)]
    return {each[1] for each in words if each[0].endswith("sleep")}


def _words(pid: int) -> list[str]:
    """Its command line; one empty word when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]


def sleeper(account: str, seconds: str) -> proc.Process | None:
    """The process of the account that sleeps that long."""
    return next((one for pid, one in processes_of(account).items() if seconds in _words(pid)), None)


def sibling(account: str, child: str, itself: str) -> str:
    """A command of the account whose process makes another its own parent's child; both sleep."""
    program = Path(f"~{account}").expanduser() / "sibling.py"  # HTCondor's jobs have a /tmp of their own
    program.write_text(SIBLING.format(child=child, itself=itself))
    program.chmod(0o644)
    return f"exec python3 {program}"


def plant(account: str, kind: str) -> proc.Process:
    """A process of the account that no job accounts for: orphaned, in a session of its own."""
    pid = strew(account, kind)
    stray = until("the stray to be alone", lambda: (one := proc.read(pid)) and one.session == pid and one)
    assert isinstance(stray, proc.Process)
    return stray


def strew(account: str, kind: str) -> int:
    """Start such a process; its pid, or 0 where an epilog that just clears the account away was faster."""
    done = run_as(account, "bash", "-c", f"({kind.format(n=90000)}) </dev/null >/dev/null 2>&1 & echo $!")
    return int(done.stdout or 0)


@contextmanager
def load() -> Iterator[None]:
    """Twice as many who want a CPU as there are CPUs."""
    burner = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burner, user="alice", cwd="/") for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in burners:
            process.kill()
            process.wait()
