"""What a decision costs over Globus mappings and over rules of a policy: beside Globus's own mapper, in one process.

The identity is a set of one, and the last row or rule is the one that matches::

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

from gridwarden.mapper import globus, globus_documents, globus_people, policy
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule

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
# A rule for each row of one of the kinds above, which is what Globus's mapper has beside it.
RULES: dict[str, tuple[str, Callable[[int], Rule]]] = {
    "a DN a rule": ("a name a row", lambda number: Rule(dn=person(number).subject, account="user")),
    "an FQAN a rule": ("a domain a row", lambda number: Rule(fqan=person(number).fqans[0], account="user")),
    "any start and end": ("any end", lambda number: Rule(dn=f"*/OU=site{number}/*", account="user")),
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
        "rules": [measure_rules(kind, size, arguments.rounds) for kind in RULES for size in arguments.sizes],
    }
    print(json.dumps(result, indent=1) if arguments.json else page(result))


def measure(kind: str, size: int, rounds: int) -> dict[str, object]:
    """What a decision over Globus mappings costs in both."""
    document, identity = documents_of(kind, size)
    people = globus_people.parse(json.dumps([identity]).encode())
    documents = globus_documents.parse(json.dumps([document]).encode(), "map.json")
    theirs = reference(document, identity)

    def ours() -> str:
        mapped = globus.map_identities(documents, people, no_program)
        return mapped.account if mapped else ""

    if ours() != theirs():
        sys.exit(f"{ours()} and {theirs()} are not the same")
    return {"kind": kind, "rows": size, **compared(theirs, ours, rounds)}


def measure_rules(kind: str, size: int, rounds: int) -> dict[str, object]:
    """What a decision costs over as many rules as Globus's mapper has rows."""
    beside, rule = RULES[kind]
    rules = IndexedRules(rule(number) for number in range(size))
    identities = (person(size - 1),)

    def ours() -> str:
        return policy.decide(identities, rules).target

    if policy.decide(identities, rules).rule != size:
        sys.exit("another rule than the last one decides")
    return {
        "kind": kind,
        "beside": beside,
        "rows": size,
        **compared(reference(*documents_of(beside, size)), ours, rounds),
    }


def person(number: int) -> Identity:
    """Somebody with a proxy of three FQANs, whom the rule of that number is for."""
    vo = f"vo{number}"
    fqans = (f"/{vo}/Role=production", f"/{vo}", f"/{vo}/group")
    return Identity("x509", f"/DC=org/DC=example/OU=site{number}/CN={NAME}", fqans, vo, "", 0, limited=False)


def documents_of(kind: str, size: int) -> tuple[dict[str, object], dict[str, str]]:
    """A document of so many rows, and the identity that the last one matches."""
    match, name = KINDS[kind]
    output = "{0}" if "(" in match(0) else "user"
    rows = [{"source": "{username}", "match": match(row), "output": output} for row in range(size)]
    document = {"DATA_TYPE": "expression_identity_mapping#1.0.0", "mappings": rows}
    return document, {"id": "1c6dbe57-4a3e-44e5-826e-0280003585ae", "status": "used", "username": name(size - 1)}


def reference(document: dict[str, object], identity: dict[str, str]) -> Callable[[], str]:
    """A decision of Globus's mapper."""
    (mapper,) = load_mappers([document])

    def theirs() -> str:
        return next(found for found in mapper.map_identities([identity]) if found)[identity["id"]][0]

    return theirs


def compared(theirs: Callable[[], str], ours: Callable[[], str], rounds: int) -> dict[str, float]:
    """The median µs of a decision in both, and the median of their ratios."""
    taken = in_turn({"theirs": lambda: timed(theirs), "ours": lambda: timed(ours)}, rounds)
    ratio = statistics.median(a / b for a, b in zip(taken["theirs"], taken["ours"], strict=True))
    medians = {way: round(statistics.median(times), 2) for way, times in taken.items()}
    return {**medians, "ratio": round(ratio, 1)}


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
