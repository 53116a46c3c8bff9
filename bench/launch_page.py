"""The page of docs/ that shows what bench/launch.py measured."""

from __future__ import annotations

from typing import Any

import pages

WORDS = {
    "floor": "`sudo -n python3 -I -S -c pass`",
    "parts": "the same sudo, interpreter, libcrypto, PAM and payload, in a program that does nothing else",
    "proxy": "`gridwarden-exec`, an owner's proxy",
    "token": "`gridwarden-exec`, an owner's token (ES256)",
}


def verdict(rows: list[dict[str, Any]]) -> str:
    """Which budgets are not kept."""
    beyond = [row["what"] for row in rows if row["budget"] and row["ratio"] > row["budget"]]
    return f"A launch with a {' or a '.join(beyond)} is beyond its budget." if beyond else "All is within budget."


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| {WORDS[row['what']]} | {row['median_ms']:.1f} | {row['least_ms']:.1f} | {row['ratio']:.1f} | {row['budget'] or ''} |"
        for row in result["rows"]
    )
    text = f"""Whole launches of `/bin/true`, in turn, {result["rounds"]} rounds, Python {result["python"]}, on two cores shared with other
work: face, sudo, the pilot's proxy and the owner's credential read and verified, bans, policy, lease, records on disk, PAM's account and
session with eight modules, the payload, and the clearing of its account afterwards.

| what | median ms | least ms | times the floor | budget |
|---|---|---|---|---|
{rows}

{verdict(result["rows"])} The second row is `bench/launch_floor.py`: sudo, the interpreter, two chains verified by libcrypto
in processes of their own, PAM's session, the payload and two lines on disk, without any of the checks, decisions, records and
watching that a launch is about. What is beyond it goes into the face's looks (2 ms), loading 110 of gridwarden's modules, three more
processes, and the pages that each process copies when it is forked: most of a launch's processor time is the kernel's."""
    return pages.page("launch", "What launching a payload costs", text.splitlines())
