"""What prolog and epilog cost beside the interpreter's own start, in interleaved runs of the installed programs.

Run inside the test site, where gridwarden is installed as a wheel::

    python3 -m tests.site run -- python3 /src/bench/hooks.py

Prints a table, or JSON with ``--json``.  Each prolog and each epilog is a whole job of a mapped account: its
records are on disk when the program ends.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROXY = "/srv/credentials/anna/proxy.pem"
PROGRAMS = Path("/usr/libexec/gridwarden")
BUDGETS = {"prolog": 1.6, "epilog": 3.0}
FIRST_JOB = 1_000_000  # beyond those of the site's Slurm


def environment(account: str, job: int) -> dict[str, str]:
    """What slurmd 24.11 gives a prolog or epilog."""
    uid = str(pwd.getpwnam(account).pw_uid)
    return {
        "SLURMD_NODENAME": "n1",
        "SLURM_CLUSTER_NAME": "site",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "SLURM_JOBID": str(job),
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_UID": uid,
        "SLURM_JOB_USER": account,
        "SLURM_JOB_RESTART_COUNT": "0",
        "SLURM_JOB_START_TIME": str(int(time.time())),
        "SLURM_JOB_EXIT_CODE2": "0:0",
    }


def milliseconds(command: list[str], given: dict[str, str]) -> float:
    """Run a command to its end and return how long that took."""
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, given)
    _, status = os.waitpid(child, 0)
    took = (time.perf_counter() - start) * 1000
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with wait status {status}")
    return took


def measure(rounds: int) -> dict[str, list[float]]:
    """The times of each, taken in turn, the first round left out."""
    mapped = subprocess.run(["gridwarden", "map", "--proxy", PROXY], check=True, capture_output=True, text=True)
    account = mapped.stdout.split()[0]
    interpreter = (PROGRAMS / "slurm-prolog").read_text().splitlines()[0][2:].split()[0]
    taken: dict[str, list[float]] = {"floor": [], "prolog": [], "epilog": []}
    for number in range(rounds + 1):
        given = environment(account, FIRST_JOB + number)
        commands = {
            "floor": [interpreter, "-I", "-S", "-c", "pass"],
            "prolog": [str(PROGRAMS / "slurm-prolog")],
            "epilog": [str(PROGRAMS / "slurm-epilog")],
        }
        for name, command in commands.items():
            took = milliseconds(command, given)
            if number:
                taken[name].append(took)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    taken = measure(arguments.rounds)
    floor = statistics.median(taken["floor"])
    rows = [
        {
            "what": name,
            "median_ms": round(statistics.median(times), 2),
            "ratio": round(statistics.median(times) / floor, 2),
            "budget": BUDGETS.get(name),
        }
        for name, times in taken.items()
    ]
    if arguments.json:
        print(json.dumps({"rounds": arguments.rounds, "python": sys.version.split()[0], "rows": rows}, indent=1))
        return
    for row in rows:
        budget = f"budget {row['budget']}" if row["budget"] else ""
        print(f"{row['what']:8} {row['median_ms']:7.2f} ms   {row['ratio']:5.2f} x floor   {budget}")


if __name__ == "__main__":
    main()
