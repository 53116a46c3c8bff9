"""The page of docs/ that shows what bench/hooks.py measured, and bench/job_submit.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pages

WORDS = {
    "floor": "`python3 -I -S -c pass`",
    "prolog": "the prolog of a mapped account's job, its record on disk",
    "epilog": "the epilog of the account's last job, without strays",
}
CALLS = {"floor": "an empty function", "job_submit.lua": "`job_submit.lua`"}


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| {WORDS[row['what']]} | {row['median_ms']:.1f} | {row['least_ms']:.1f} | {row['ratio']:.2f} | {row['budget'] or ''} |"
        for row in result["rows"]
    )
    plugin = json.loads(Path(__file__).with_name("job_submit.json").read_text(encoding="utf-8"))
    calls = "\n".join(
        f"| {CALLS[what]} | {row['mean']:.1f} | {row['median']:.1f} | {row['p99']:.1f} | "
        f"{plugin['budget'] if what != 'floor' else ''} |"
        for what, row in plugin["figures"].items()
    )
    text = f"""## Prolog and epilog

Whole processes of the installed programs, in turn, {result["rounds"]} rounds, Python {result["python"]}, on two cores shared with
other work (load average {result["load"]:.0f}). A record is on disk when the program ends: what the disk takes is in it, and not in the floor.

| what | median ms | least ms | times the floor | budget |
|---|---|---|---|---|
{rows}

## job_submit.lua

Inside slurmctld ({plugin["slurm"]}), at each of {plugin["submissions"]} submissions one after the other. The clock is the processor time of all
of slurmctld's threads, so the mean is an upper bound.

| what | mean µs | median µs | 99 % | budget |
|---|---|---|---|---|
{calls}"""
    return pages.page("hooks", "What the hooks of Slurm cost", text.splitlines())
