"""The page of docs/ that shows what bench/verify.py measured."""

from __future__ import annotations

from typing import Any

import pages

ROWS = (
    ("in_process", "gridwarden, its code loaded: chain, revocation lists, signing policies, key, VOMS attributes"),
    ("openssl", "`openssl verify -allow_proxy_certs -crl_check`, a process: the chain alone"),
    ("interpreter", "`python3 -I -S -c pass`, a process"),
    ("whole", "gridwarden's whole verification, with the process without rights that does it"),
)


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| {text} | {result[f'{name}_least']:.2f} | {result[name]:.2f} | {result[f'{name}_p95']:.2f} |"
        for name, text in ROWS
    )
    text = f"""A proxy with VOMS attributes (RSA 2048), in turn, {result["rounds"]} rounds, Python {result["python"]}, in ms of CPU time:
nothing of it waits, and the two cores were shared with other work. The budget of the first row is {result["budget_ms"]:.0f} ms.

| what | least | median | 95 % |
|---|---|---|---|
{rows}"""
    return pages.page("verify", "What verifying a proxy costs", text.splitlines())
