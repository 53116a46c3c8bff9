"""The page of docs/ that shows what bench/gridmapdir.py measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("gridmapdir", "What a lease costs", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    yield (
        "LCMAPS 1.6.6 and gridwarden in turn in one process, each in a directory of its own that is equally full, in the directory's order as LCMAPS itself fills one; users "
        f"in a flat `/etc/passwd`; Python {result['python']}, {result['file_system']}; medians in µs. `own part` is "
        "gridwarden's without NSS. LCMAPS makes nothing durable; the first columns compare it with gridwarden without "
        "fsync, and the last is gridwarden's complete step: bans, lease, evidence, holder file, each durable."
    )
    yield ""
    yield (
        "Where a pool is nearly full, a new lease also reads the directory to say how full it is. The machine had two "
        "cores, shared with other work while this was measured: what counts is the ratio in a row."
    )
    yield ""
    yield "| accounts | what | LCMAPS | gridwarden | ratio | one getpwnam | own part | complete, durable |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from map(row, result["rows"])
    yield from durability(result.get("durable"))
    fill = {one["who"]: one for one in result["fill"]}
    if fill:
        theirs, ours = fill["lcmaps"]["seconds"], fill["gridwarden"]["seconds"]
        yield ""
        yield (
            f"Filling a pool of {fill['lcmaps']['accounts']}: LCMAPS {theirs} s, nothing durable; gridwarden {ours} s, "
            f"everything durable ({theirs / ours:.1f} times as fast)."
        )
    refused = ", ".join(f"{one['who']} {one['refused']} of {one['asked']}" for one in result["crowd"])
    if refused:
        yield ""
        yield f"Refused when eight processes lease to 50 new people each at once, 1000 accounts free: {refused}."


def durability(found: dict[str, float] | None) -> Iterator[str]:
    """What fsync takes, and how much of a lease it is."""
    if found is None:
        return
    took = {name: round(value) for name, value in found.items()}
    yield ""
    yield "| made durable | µs |"
    yield "|---|---|"
    yield f"| fsync of a new small file | {took['file']} |"
    yield f"| fsync of its directory | {took['directory']} |"
    yield f"| the {took['calls']} fsyncs of a complete new lease, 1000 accounts | {took['in_calls']} |"
    yield f"| that lease, all of it | {took['lease']} |"


def row(one: dict[str, Any]) -> str:
    """One row of the table."""
    theirs, ours, asked = (one[name]["p50"] for name in ("lcmaps", "gridwarden", "getpwnam"))
    own = one["own"]["p50"] if "own" in one else max(0.0, ours - one["questions"] * asked)
    durable = f"{one['durable']['p50']:.0f}" if "durable" in one else ""
    return (
        f"| {one['accounts']} | {one['what']} | {theirs:.0f} | {ours:.0f} | {theirs / ours:.1f} "
        f"| {asked:.0f} | {own:.0f} | {durable} |"
    )
