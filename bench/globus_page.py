"""The page of docs/ that shows what bench/globus.py measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("globus", "What a decision costs, over Globus mappings and over rules", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    yield (
        f"globus-identity-mapping {result['reference']} and gridwarden in turn in one process, Python "
        f"{result['python']}, {result['rounds']} rounds, medians in µs of CPU time. One identity; the last row or "
        "rule is the one that matches; documents and policy are read already. The budget is ten times as fast over 1 000 rows."
    )
    yield ""
    yield (
        "gridwarden finds rows by how their match ends: `(.*)@site7\\.example\\.edu`, `user7@example\\.edu`. Where "
        "that tells nothing, as of `(.*)@site7\\..*` (any end), it asks those whose match holds a text that is there."
    )
    yield ""
    yield "| match | rows | Globus's mapper | gridwarden | ratio |"
    yield "|---|---|---|---|---|"
    for one in result["rows"]:
        yield f"| {one['kind']} | {one['rows']} | {one['theirs']:.1f} | {one['ours']:.1f} | {one['ratio']:.1f} |"
    yield ""
    yield "## Rules of the policy"
    yield ""
    yield (
        "As many rules in gridwarden's own policy, each for an account, and beside them Globus's mapper with that many rows "
        "of the kind named. The person has a proxy with three FQANs. A rule is found by a literal condition, or by how its "
        "pattern begins and ends; of those with any start and end (`*/OU=site7/*`) the ones whose text is there are tried."
    )
    yield ""
    yield "| condition | rules | Globus's mapper | gridwarden | ratio |"
    yield "|---|---|---|---|---|"
    for one in result["rules"]:
        theirs = f"{one['theirs']:.1f} ({one['beside']})"
        yield f"| {one['kind']} | {one['rows']} | {theirs} | {one['ours']:.1f} | {one['ratio']:.1f} |"
