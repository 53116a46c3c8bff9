"""Whether a text matches a pattern of ``globus_pattern``, and what each group of it matched: two engines, one answer.

Python's ``re`` tries one way after the other and cannot be stopped.  So a pattern says up to which length of text the
ways are few; there ``re`` is asked.  Above, our own engine is, which looks at no place of the pattern twice with the
same place of the text.  Both prefer the same way: what ``re`` would answer, if it ever did.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, TypeAlias

LONGEST_TEXT = 1024  # characters of what is matched
WAYS = 10_000  # that re may try

Groups: TypeAlias = "tuple[str | None, ...]"
# What to do at one place of a pattern: a character to read (None: any but a newline); or for a group's bounds
# ("save", slot); or ("split", preferred, other), steps from here.
Step: TypeAlias = "str | tuple[str, int] | tuple[str, int, int] | None"


class Pattern(NamedTuple):
    """A match with so many groups: ``re`` has it as ``expression``, for texts of at most ``longest`` characters.

    Of a text of n characters ``re`` then tries at most ``ways`` * (n + 1) ** ``stars`` ways.  Only what holds ``inside``
    and ends with ``ending`` can match, both in small letters if ``ignore_case``.
    """

    expression: str
    longest: int
    ways: int
    stars: int
    group_count: int
    steps: tuple[Step, ...]
    ignore_case: bool
    inside: str
    ending: str
    has_top_level_bar: bool


def groups(pattern: Pattern, text: str) -> Groups | None:
    """What each group matched if ``text`` matches, by the engine that is sure to end."""
    if len(text) > pattern.longest:
        return search(pattern, text)
    match = compiled(pattern.expression, pattern.ignore_case).fullmatch(text)
    return match.groups() if match else None


@lru_cache(maxsize=10_000)
def compiled(expression: str, ignore_case: bool) -> re.Pattern[str]:  # noqa: FBT001 - keyword arguments cost a cache more
    """What ``re`` makes of a pattern, once it is asked for: of thousands that a file has a decision needs a few."""
    return re.compile(expression, re.ASCII | (re.IGNORECASE if ignore_case else 0))


def cost(pattern: Pattern, text: str) -> int:
    """How often the engine for this text looks at something, at most; each time is a fraction of a microsecond."""
    if len(text) > pattern.longest:
        return (len(text) + 1) * (len(pattern.steps) + 1)
    return pattern.ways * int((len(text) + 1) ** pattern.stars)


def search(pattern: Pattern, text: str) -> Groups | None:
    """What each group matched if ``text`` matches, found in a time that grows as the two's lengths multiplied."""
    steps, end = pattern.steps, len(text)
    read = lower(text) if pattern.ignore_case else text
    width = len(steps) + 1
    seen = bytearray((end + 1) * width)
    waiting: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, (-1,) * (2 * pattern.group_count))]
    while waiting:
        at, place, bounds = waiting.pop()
        while not seen[place * width + at]:
            seen[place * width + at] = 1
            if at == len(steps):
                if place == end:
                    return tuple(
                        text[bounds[slot] : bounds[slot + 1]] if bounds[slot + 1] >= 0 else None
                        for slot in range(0, len(bounds), 2)
                    )
                break
            step = steps[at]
            if not isinstance(step, tuple):
                if place == end or (read[place] != step if step is not None else read[place] == "\n"):
                    break
                at, place = at + 1, place + 1
            elif len(step) == 3:
                waiting.append((at + step[2], place, bounds))
                at += step[1]
            else:
                bounds = (*bounds[: step[1]], place, *bounds[step[1] + 1 :])
                at += 1
    return None


def lower(text: str) -> str:
    """``text`` with its ASCII letters in lower case."""
    return text.lower() if text.isascii() else "".join(one.lower() if one.isascii() else one for one in text)
