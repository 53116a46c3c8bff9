"""Slurm's short form for many nodes: ``n[1-3,07],login`` is n1, n2, n3, n07 and login."""

from __future__ import annotations

import re
from itertools import product

_NAME = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_MOST = 100_000


def expand(text: str) -> list[str]:
    """Return the names of the nodes; what is not in that form stands for itself."""
    return [name for part in _NAME.findall(text) for name in _expand_one(part)]


def _expand_one(text: str) -> list[str]:
    choices = [_numbers(inside) if inside else [plain] for inside, plain in _PART.findall(text)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > _MOST or not all(choices):
        return [text]
    return ["".join(parts) for parts in product(*choices)]


def _numbers(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            found.append(part)
        elif first.isdigit() and last.isdigit() and 0 <= int(last) - int(first) < _MOST:
            found += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        else:
            return []
    return found
