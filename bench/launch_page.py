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

A launch with a proxy is beyond its budget. Of its processor time, 60 ms above the floor's, two fifths go into loading 120 of
gridwarden's own modules and the verifiers' libcrypto; eight processes, PAM, the records and the clearing are the rest."""
    return pages.page("launch", "What launching a payload costs", text.splitlines())
