"""The command blocks of README, CONTRIBUTING and docs, so that tests can do what a reader would do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"sh", "console", "yaml", "json", "text", "toml", "python", ""}


class Block(NamedTuple):
    """One fenced block: ``language`` is the word after the fence, ``where`` page:line."""

    where: str
    language: str
    text: str


class Step(NamedTuple):
    """One command of a console block and the output that the page shows for it (``...`` is anything)."""

    where: str
    prompt: str
    command: str
    shown: str

    def matches(self, output: str) -> bool:
        """Whether ``output`` is what the page shows; a line ``...`` stands for any lines, none included."""
        pattern = "".join(
            r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n"
            for line in self.shown.splitlines()
        )
        return re.fullmatch(pattern, output if output.endswith("\n") or not output else output + "\n") is not None


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of all pages in these languages, in the order of the pages."""
    found = []
    for page in PAGES:
        inside: Block | None = None
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if line.startswith("```"):
                if inside:
                    found.append(inside)
                    inside = None
                else:
                    inside = Block(f"{page.relative_to(ROOT)}:{number}", line[3:].strip(), "")
            elif inside:
                inside = inside._replace(text=inside.text + line + "\n")
        assert inside is None, f"{inside} is not closed"
    return [block for block in found if not languages or block.language in languages]


def steps(block: Block) -> list[Step]:
    """The commands of a console block; a line that begins with ``# `` or ``$ `` is one."""
    found: list[Step] = []
    for line in block.text.splitlines():
        if line[:2] in ("# ", "$ "):
            found.append(Step(block.where, line[0], line[2:], ""))
        elif found:
            found[-1] = found[-1]._replace(shown=found[-1].shown + line + "\n")
    return found
