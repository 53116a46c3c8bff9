"""The page of docs/ that shows what bench/pacct.py measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("pacct", "Reading process accounting", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    yield (
        f"`gridwarden collect` of a file of {result['records']} records into an empty store, and a floor, in turn in one "
        f"process: Python {result['python']}, SQLite {result['sqlite']}, medians of {result['rounds']} rounds, records a minute "
        f"of CPU time. The load of the machine, of two cores, was {result['load']} then. The floor unpacks each record and puts "
        "its fields into a table without a key, in one transaction: nothing could be found there, or told from what is there "
        "already. gridwarden makes times of them, expands what the kernel cut, keeps each process once, and has an index of "
        "parents. The budget is 15 million records a minute."
    )
    yield ""
    yield "| floor | gridwarden | of the floor |"
    yield "|---|---|---|"
    yield f"| {result['floor'] / 1e6:.1f} million | {result['ours'] / 1e6:.1f} million | {result['ratio']:.2f} |"
    yield ""
    yield "How much memory it takes does not depend on the size of the file:"
    yield ""
    yield "| records | seconds by the clock, at that load | memory |"
    yield "|---|---|---|"
    for one in result["files"]:
        yield f"| {one['records']} | {one['seconds']} | {one['megabytes']} MB |"
