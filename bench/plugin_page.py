"""The page of docs/ that shows what bench/plugin.py measured."""

from __future__ import annotations

from typing import Any

import pages

WORDS = {
    "floor": "`python3 -I -S -c pass`",
    "claims": "claims on standard input, as HTCondor gives them",
    "environment": "claims in the environment, as ARC gives them",
    "token": "a token (ES256), verified by a process without rights",
}


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| {WORDS[row['what']]} | {row['median_ms']:.1f} | {row['ratio']:.1f} | {row['budget'] or ''} |"
        for row in result["rows"]
    )
    text = f"""Whole processes of `token-map`, in turn, {result["rounds"]} rounds, Python {result["python"]}, on two cores shared with other
work: each decides anew by bans and policy and finds the lease of whoever it is.

| what | median ms | times the floor | budget |
|---|---|---|---|
{rows}"""
    return pages.page("plugin", "What the mapping plugin costs", text.splitlines())
