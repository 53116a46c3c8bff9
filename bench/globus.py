"""What one decision over Globus mappings costs: gridwarden and Globus's own mapper, in turn, in one process.

The identity is a set of one, and the last row is the one that matches::

    .venv/bin/python bench/globus.py --json > bench/globus.json
    make docs
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from globus_identity_mapping.loader import load_mappers
from globus_page import page
from interleaved import in_turn, parser

from gridwarden.mapper import globus, globus_documents, globus_people

SIZES = (1, 10, 100, 1000)
ROUNDS = 15
LONG_ENOUGH = 0.02  # seconds of one measurement
NAME = "jessica.jazz.jess"
# A match for each row, and whom the last one matches; of the second kind no end tells rows apart.
KINDS: dict[str, tuple[Callable[[int], str], Callable[[int], str]]] = {
    "a domain a row": (lambda row: rf"(.*)@site{row}\.example\.edu", lambda row: f"{NAME}@site{row}.example.edu"),
    "a name a row": (lambda row: rf"user{row}@example\.edu", lambda row: f"user{row}@example.edu"),
    "any end": (lambda row: rf"(.*)@site{row}\..*", lambda row: f"{NAME}@site{row}.example.edu"),
}


def main() -> None:
    """Measure and print, or print the table of what was measured."""
    options = parser(__doc__, ROUNDS)
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = options.parse_args()
    result = {
        "python": sys.version.split()[0],
        "reference": importlib.metadata.version("globus-identity-mapping"),
        "rounds": arguments.rounds,
        "rows": [measure(kind, size, arguments.rounds) for kind in KINDS for size in arguments.sizes],
    }
    print(json.dumps(result, indent=1) if arguments.json else page(result))


def measure(kind: str, size: int, rounds: int) -> dict[str, object]:
    """The median µs of a decision in both, and the median of their ratios."""
    match, name = KINDS[kind]
    output = "{0}" if "(" in match(0) else "user"
    rows = [{"source": "{username}", "match": match(row), "output": output} for row in range(size)]
    document = {"DATA_TYPE": "expression_identity_mapping#1.0.0", "mappings": rows}
    identity = {"id": "1c6dbe57-4a3e-44e5-826e-0280003585ae", "status": "used", "username": name(size - 1)}
    people = globus_people.parse(json.dumps([identity]).encode())
    documents = globus_documents.parse(json.dumps([document]).encode(), "map.json")
    (mapper,) = load_mappers([document])

    def ours() -> str:
        mapped = globus.map_identities(documents, people, no_program)
        return mapped.account if mapped else ""

    def theirs() -> str:
        return next(found for found in mapper.map_identities([identity]) if found)[identity["id"]][0]

    if ours() != theirs():
        sys.exit(f"{ours()} and {theirs()} are not the same")
    taken = in_turn({"theirs": lambda: timed(theirs), "ours": lambda: timed(ours)}, rounds)
    ratio = statistics.median(a / b for a, b in zip(taken["theirs"], taken["ours"], strict=True))
    medians = {way: round(statistics.median(times), 2) for way, times in taken.items()}
    return {"kind": kind, "rows": size, **medians, "ratio": round(ratio, 1)}


def no_program(*_: object) -> None:
    """These documents name none."""


def timed(work: Callable[[], str]) -> float:
    """µs of CPU time of one call, from as many as take long enough."""
    gc.collect()
    calls = 1
    while True:
        start = time.process_time()
        for _ in range(calls):
            work()
        took = time.process_time() - start
        if took >= LONG_ENOUGH:
            return took / calls * 1e6
        calls = max(2 * calls, int(calls * LONG_ENOUGH / max(took, 1e-6)))


if __name__ == "__main__":
    main()
