"""What a run of gridwarden-prune costs on a node where nothing is to be done: run by bench/prune.py inside the test site.

Prints JSON: medians of the CPU milliseconds of the whole program, of what the batch system's answer takes of them
(the programs that it starts included), and of the bare interpreter.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
from collections.abc import Callable

from interleaved import in_turn

ROUNDS = 20
ASK = """
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from gridwarden import node_file
from gridwarden.batch import slurm

def used():
    return sum(getrusage(who).ru_utime + getrusage(who).ru_stime for who in (RUSAGE_SELF, RUSAGE_CHILDREN))

site = node_file.read()
before = used()
answer = slurm.jobs_here(site, 10)
print((used() - before) * 1000)
assert not answer.unknown, answer.unknown
"""


def main() -> None:
    """Measure and print."""
    python = "/opt/gridwarden/bin/python"
    ways: dict[str, Callable[[], float]] = {
        "program": lambda: milliseconds(["/opt/gridwarden/bin/gridwarden-prune"]),
        "answer": lambda: float(subprocess.run([python, "-c", ASK], check=True, capture_output=True).stdout),
        "interpreter": lambda: milliseconds([python, "-I", "-S", "-c", "pass"]),
    }
    taken = in_turn(ways, ROUNDS)
    print(json.dumps({name: round(statistics.median(times), 1) for name, times in taken.items()}))


def milliseconds(command: list[str]) -> float:
    """What a program uses that finds nothing to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


if __name__ == "__main__":
    main()
