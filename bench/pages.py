"""What the pages of docs/ that show measurements have in common."""

from __future__ import annotations

from collections.abc import Iterable


def page(name: str, title: str, lines: Iterable[str]) -> str:
    """The page of bench/NAME.json, in Markdown."""
    notice = f"<!-- Written by docs/generate.py from bench/{name}.json; do not edit. -->"
    return "\n".join([f"# {title}", "", notice, "", *lines]) + "\n"
