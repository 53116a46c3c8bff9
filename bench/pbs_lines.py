"""What reading a line of a PBS accounting log costs: beside splitting it into a dictionary of its fields, in one process.

The lines are E records as OpenPBS 23.06 wrote them (tests/data/openpbs-23.06.log), with other people, times and amounts in
each.  OpenPBS quotes the account of those that have one; the floor leaves the quotes where they are::

    .venv/bin/python bench/pbs_lines.py --json > bench/pbs_lines.json
    make docs
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from interleaved import cpu_milliseconds, in_turn, parser
from pbs_lines_page import page

from gridwarden.accounting import pbs_log
from gridwarden.accounting.batch_records import Job

ROUNDS = 41
LINES = 20_000


def main() -> None:
    """Measure and print, or print the table of what was measured."""
    arguments = parser(__doc__, ROUNDS).parse_args()
    # A resource that a site made stands among those used.
    kinds = {
        "no account": ("", "", ""),
        "every other with an account": ("cms", "", ""),
        "an account, and a resource of the site's own": ("cms", " resources_used.score=1", ""),
        "Torque's": ("", "", "torque"),
    }
    result = {
        "python": sys.version.split()[0],
        "rounds": arguments.rounds,
        "lines": LINES,
        "rows": [measure(what, *words, arguments.rounds) for what, words in kinds.items()],
    }
    print(json.dumps(result, indent=1) if arguments.json else page(result))


def measure(what: str, account: str, added: str, server: str, rounds: int) -> dict[str, object]:
    """Lines a second of both ways, and the median of their ratios."""
    lines = [line.replace(" resources_used.vmem", f"{added} resources_used.vmem") for line in records(account)]
    if server == "torque":
        lines = [as_torque(line) for line in lines]
    for line in lines[:100]:
        job, fields = pbs_log.parse(line), floor(line)
        if not isinstance(job, Job) or pbs_log.fields_of(job.fields).keys() != fields.keys():
            sys.exit(f"fields were lost of {line}")
    ways = {"floor": reading(floor, lines), "ours": reading(pbs_log.parse, lines)}
    taken = in_turn(ways, rounds)
    rates = {way: round(LINES / statistics.median(times) * 1000) for way, times in taken.items()}
    ratios = [a / b for a, b in zip(taken["floor"], taken["ours"], strict=True)]
    return {"what": what, **rates, "ratio": round(statistics.median(ratios), 2)}


def floor(line: str) -> dict[str, str]:
    """The least that a program does which has all fields of a line: split it, and make a dictionary."""
    _, _, _, message = line.split(";", 3)
    return dict(field.split("=", 1) for field in message.split(" "))


def reading(read: Callable[[str], object], lines: list[str]) -> Callable[[], float]:
    """Read all lines, keeping none, as an import does not."""

    def run() -> None:
        for line in lines:
            read(line)

    return cpu_milliseconds(run)


def records(account: str) -> list[str]:
    """E records, no two alike."""
    chance = random.Random(1)
    return [record(number, account if number % 2 else "", chance) for number in range(LINES)]


def record(number: int, account: str, chance: random.Random) -> str:
    """One of them."""
    submit = 1_795_000_000 + number
    start, used = submit + chance.randrange(86_400), chance.randrange(1, 172_800)
    node, cores = f"wn{chance.randrange(400):03}", chance.choice((1, 1, 1, 8))
    asked = f"ncpus={cores}"
    charged = f'account="{account}" ' if account else ""
    return (
        f"11/21/2026 20:55:07;E;{number}.pbshead;user=cms{number % 500:03} group=cms {charged}"
        f"project=_pbs_project_default jobname=pilot_{number} queue=grid ctime={submit} qtime={submit} etime={submit} "
        f"start={start} exec_host={node}/{number % 64}*{cores} exec_vnode=({node}:{asked}) Resource_List.{asked} "
        f"Resource_List.nodect=1 Resource_List.place=pack Resource_List.select=1:{asked} Resource_List.walltime=48:00:00 "
        f"session={chance.randrange(1, 4_000_000)} end={start + used} Exit_status={chance.choice((0, 0, 0, 271))} "
        f"resources_used.cpupercent={chance.randrange(100)} resources_used.cput={clock(used * cores * 9 // 10)} "
        f"resources_used.mem={chance.randrange(10_000, 8_000_000)}kb resources_used.{asked} "
        f"resources_used.vmem={chance.randrange(10_000, 9_000_000)}kb resources_used.walltime={clock(used)} run_count=1"
    )


def as_torque(line: str) -> str:
    """The same job as Torque 6.1 writes it."""
    line = re.sub(r"project=\S+ | exec_vnode=\S+|resources_used\.(?:cpupercent|ncpus)=\S+ | run_count=1", "", line)
    line = re.sub(r"(start=\d+) ", r"\1 owner=user@ce.example.org ", line, count=1)
    return re.sub(r"(session=\d+) ", r"\1 total_execution_slots=1 unique_node_count=1 ", line, count=1)


def clock(seconds: int) -> str:
    """Seconds as PBS writes them."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


if __name__ == "__main__":
    main()
