"""What prolog and epilog cost beside the interpreter's own start, in interleaved runs of the installed programs.

Run inside the test site, where gridwarden is installed as a wheel::

    python3 -m tests.site run -- python3 /src/bench/hooks.py

Prints a table, or JSON with ``--json``.  Each prolog and each epilog is a whole job of a mapped account: its
records are on disk when the program ends.
"""

from __future__ import annotations

import itertools
import pwd
import subprocess
import time
from pathlib import Path

from interleaved import in_turn, parser, print_programs, program_milliseconds

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


def measure(rounds: int) -> dict[str, list[float]]:
    """The times of each, taken in turn."""
    mapped = subprocess.run(["gridwarden", "map", "--proxy", PROXY], check=True, capture_output=True, text=True)
    account = mapped.stdout.split()[0]
    interpreter = (PROGRAMS / "slurm-prolog").read_text().splitlines()[0][2:].split()[0]
    jobs = itertools.count(FIRST_JOB)
    given = environment(account, FIRST_JOB)

    def prolog() -> float:
        given.update(environment(account, next(jobs)))
        return program_milliseconds([str(PROGRAMS / "slurm-prolog")], given)

    ways = {
        "floor": lambda: program_milliseconds([interpreter, "-I", "-S", "-c", "pass"], given),
        "prolog": prolog,
        "epilog": lambda: program_milliseconds([str(PROGRAMS / "slurm-epilog")], given),
    }
    return in_turn(ways, rounds)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=60).parse_args()
    print_programs(measure(arguments.rounds), BUDGETS, as_json=arguments.json)


if __name__ == "__main__":
    main()
