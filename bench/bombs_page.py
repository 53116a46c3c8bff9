"""The page of docs/ that shows what became of fork bombs in tests/proof/bombs.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages

INTRODUCTION = (
    "Four kinds of fork bomb, bounded by RLIMIT_NPROC in a pid namespace of their own, against the pruner. Each of "
    "their processes adds to a counter in shared memory: a bomb is dead when that stands still after the pruner has "
    "returned, whatever /proc shows. The innocents are another account's processes and root's daemons that act for the "
    "account at the moment, named like strays; beside a live job they are that job's processes, some of which start "
    "programs all the time and end when one of these is hurt. `make proof` runs them again."
)


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("bombs", "What becomes of fork bombs", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    yield INTRODUCTION
    for way in result.values():
        yield ""
        yield f"## {way['what'][0].upper()}{way['what'][1:]}"
        yield ""
        yield "| bomb | fork calls/s, median | dead/runs | innocents alive/run, fewest | ms, median | ms, most |"
        yield "|---|---|---|---|---|---|"
        for row in way["rows"]:
            yield (
                f"| {row['kind']} | {row['forks_a_second']} | {row['dead']}/{row['runs']} "
                f"| {row['innocents']}/{way['innocents']} | {row['median']} | {row['most']} |"
            )
