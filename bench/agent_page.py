"""The page of docs/ that shows what bench/agent.py measured."""

from __future__ import annotations

from typing import Any

import pages

WORDS = {
    "idle": "idle",
    "busy": "1 000 messages a second, of 100 users, each over a connection of its own",
    "flood": "one user floods, 100 others send one message a second each",
}


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| {WORDS[row['what']]} | {row['rss_mib']:.1f} | {row['cpu_percent']:.2f} | {row['sent']} | {row['lost']} "
        f"| {_number(row['median_ms'])} | {_number(row['p99_ms'])} | {_number(row['late_p99_ms'])} "
        f"| {_number(row['disk_p99_ms'])} | {row['load']:.0f} |"
        for row in result["rows"]
    )
    flood = next(row for row in result["rows"] if row["what"] == "flood")
    text = f"""`gridwarden-agent` for {result["seconds"]:.0f} s each, Python {result["python"]}, on two cores shared with other work (the load
average stands in the last column){_priority(result)}.
Its ledger is on a disk, and a message is answered once its record is on that.

Beside the answers stand what bounds them: how late a sender itself woke, and how long the same disk took, twenty times a
second meanwhile, to make one line durable that nobody else waits for.

| what | memory, MiB | of a core, % | sent | lost | answered after ms: median | 99 % | a sender woke, 99 % | the disk alone, 99 % | load |
|---|---|---|---|---|---|---|---|---|---|
{rows}

The flood: {flood["flood_tries"] / result["seconds"]:,.0f} tries a second over up to 64 connections{_taken(flood)}. {flood["flood_stored"]} messages were
stored, as its user's limits allow. In the ledger: {flood["gap"]}.

The agent reads a user's messages no faster than that user's limits say, and leaves the rest in the kernel, whose buffers of each
connection are bounded: who floods it is told that there is no room (EAGAIN), or waits. What the agent still has to do for a flooder is to let
in, and close, connections beyond `agent.connections`."""
    return pages.page("agent", "What the node agent costs", text.splitlines())


def _taken(flood: dict[str, Any]) -> str:
    taken = flood.get("flood_taken")
    return "" if taken is None else f"; the kernel had room for {taken:,} messages in all"


def _priority(result: dict[str, Any]) -> str:
    return (
        "; agent and senders, not the flooder,\nhave real-time priority, as on a machine of their own"
        * result["realtime"]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
