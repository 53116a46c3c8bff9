"""The page of docs/ that shows what bench/prune.py measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    return pages.page("prune", "What a look at all processes costs", lines(result))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Its lines."""
    yield (
        "The pruner reads `/proc/PID/status` of every process, for its true real and effective uids, and `stat`, "
        "`status`, `exe` and `cgroup` of those of pool accounts and their ancestors. Beside it a C program "
        "(`bench/scan.c`) that reads the same files, `ps -eo pid,ppid,uid,lstart` as a whole program, and psutil with "
        "a cold cache for pid, parent, uids and start time; neither of these reads control groups."
    )
    yield ""
    yield (
        f"In turn, {result['rounds']} rounds, Python {result['python']}, medians in ms of CPU time: nothing of it waits, "
        "and the two cores were shared with other work. The budget of the ratio to C is 1.6."
    )
    yield ""
    yield "| processes | read in full | C | gridwarden | ratio | judging | ps | psutil |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from map(row, result["rows"])
    quiet = result["quiet"]
    yield ""
    yield (
        f"A whole run of `gridwarden-prune` that finds nothing to do, on the test site with its real Slurm: "
        f"{quiet['program']:.0f} ms of CPU time, {quiet['answer']:.0f} of them for Slurm's answer; the bare interpreter "
        f"takes {quiet['interpreter']:.0f} ms."
    )


def row(one: dict[str, Any]) -> str:
    """One row of the table."""
    return (
        f"| {one['processes']} | {one['read']} | {one['c']:.1f} | {one['ours']:.1f} | {one['ratio']:.2f} "
        f"| {one['judge']:.1f} | {one['ps']:.1f} | {one['psutil']:.1f} |"
    )
