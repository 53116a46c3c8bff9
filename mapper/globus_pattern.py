r"""The match language of Globus identity mappings: read into what ``globus_search`` can ask.

The language is that of ``expression_identity_mapping#1.0.0`` (Globus Connect Server's Identity Mapping Guide, and
globus-identity-mapping 0.6.0): ``.`` is any character but a newline, ``?`` and ``*`` repeat what stands before them,
``|`` separates alternatives, ``( )`` makes a group, ``\`` takes any of these, ``\`` or ``"`` as itself; everything
else, such as ``[ ] { } + ^ $``, stands for itself.  A match is of the whole text.

Each part of a pattern knows how many ways there can be through it, which grow with the text; ``re`` is asked only where
they are few.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.mapper.globus_search import LONGEST_TEXT, WAYS, Pattern, lower

if TYPE_CHECKING:
    from gridwarden.mapper.globus_search import Step

LONGEST_MATCH = 1024  # characters of a match
DEEPEST = 50  # groups in groups
SPECIAL = frozenset(".?*|()\\")
ESCAPABLE = SPECIAL | {'"'}


class Part(NamedTuple):
    """A piece of a pattern: as ``re`` writes it, as steps, and what is known of it.

    A text of n characters has at most ``ways`` * (n + 1) ** ``stars`` ways through it; ``stars`` is None where that
    is not known.  ``can_be_empty``: it matches no character; ``single``: it is always just one.  Whatever it matches
    holds ``inside`` and ends with ``ending``, and is no more than that if it is ``fixed``.
    """

    expression: str = ""
    steps: tuple[Step, ...] = ()
    ways: int = 1
    stars: int | None = 0
    can_be_empty: bool = True
    single: bool = False
    inside: str = ""
    ending: str = ""
    fixed: bool = False


def parse(match: str, *, ignore_case: bool = False, literal: bool = False) -> Pattern:
    """The pattern that ``match`` writes; raises ValueError saying what is wrong with it.

    ``ignore_case`` is of ASCII letters: to Unicode the Kelvin sign is a small k.
    """
    if len(match) > LONGEST_MATCH:
        raise ValueError(f"is longer than {LONGEST_MATCH} characters")
    parser = Parser(match, literal=literal)
    whole = parser.alternatives(0)
    if parser.place < len(match):
        raise ValueError("has a ')' that closes nothing")
    steps = tuple(map(lower_step, whole.steps)) if ignore_case else whole.steps
    inside, ending = (lower(whole.inside), lower(whole.ending)) if ignore_case else (whole.inside, whole.ending)
    longest, stars = longest_for_re(whole), whole.stars or 0
    return Pattern(
        whole.expression,
        longest,
        whole.ways,
        stars,
        parser.groups,
        steps,
        ignore_case,
        inside,
        ending,
        parser.top_level_bar,
    )


def longest_for_re(part: Part) -> int:
    """How long a text ``re`` may be given."""
    if part.stars is None or part.ways > WAYS:
        return -1
    if part.stars == 0:
        return LONGEST_TEXT
    return min(LONGEST_TEXT, int((WAYS / part.ways) ** (1 / part.stars)) - 1)


class Parser:
    """Reads a match from ``place`` on; each method gives the part it has read."""

    def __init__(self, match: str, *, literal: bool) -> None:
        self.match = match
        self.literal = literal
        self.place = 0
        self.groups = 0
        self.top_level_bar = False

    def alternatives(self, depth: int) -> Part:
        """Sequences with bars between them."""
        if depth > DEEPEST:
            raise ValueError(f"has more than {DEEPEST} groups in one another")
        parts = [self.sequence(depth)]
        while self.next_is("|"):
            self.top_level_bar |= depth == 0
            parts.append(self.sequence(depth))
        whole = parts.pop()
        while parts:
            whole = either(parts.pop(), whole)
        return whole

    def sequence(self, depth: int) -> Part:
        """What stands one behind the other."""
        parts: list[Part] = []
        while self.place < len(self.match) and (self.literal or self.match[self.place] not in "|)"):
            parts.append(self.repeated(depth))
        return joined(parts)

    def repeated(self, depth: int) -> Part:
        """One character or group, and its ``?`` or ``*``."""
        part = self.one(depth)
        if self.next_is("?"):
            part = Part(f"(?:{part.expression})?", optional(part.steps), part.ways + 1, part.stars)
        elif self.next_is("*"):
            if part.can_be_empty:
                raise ValueError("repeats with '*' what can match nothing")
            # Only of a single character is the number of ways known: any length of text is one way.
            stars = 1 if part.single else None
            part = Part(f"(?:{part.expression})*", any_number(part.steps), 1, stars)
        return part

    def one(self, depth: int) -> Part:
        """One character or group."""
        character = self.match[self.place]
        self.place += 1
        if self.literal or character not in SPECIAL:
            return char(character)
        if character == ".":
            return Part(".", (None,), can_be_empty=False, single=True)
        if character == "(":
            slot = 2 * self.groups
            self.groups += 1
            inner = self.alternatives(depth + 1)
            if not self.next_is(")"):
                raise ValueError("has a '(' that is not closed")
            steps = (("save", slot), *inner.steps, ("save", slot + 1))
            return inner._replace(expression=f"({inner.expression})", steps=steps)
        if character in "*?":
            raise ValueError(f"has a {character!r} behind nothing that it could repeat")
        return self.escaped()

    def escaped(self) -> Part:
        """The character behind a backslash."""
        character = self.match[self.place : self.place + 1]
        if character not in ESCAPABLE or not character:
            raise ValueError(
                f'has a backslash before {character or "nothing"!r}: it stands before one of {".?*|()"}\\" only'
            )
        self.place += 1
        return char(character)

    def next_is(self, character: str) -> bool:
        """Whether ``character`` comes next, which is then read; a literal match has no such characters."""
        if self.literal or self.match[self.place : self.place + 1] != character:
            return False
        self.place += 1
        return True


def char(character: str) -> Part:
    """One character that stands for itself."""
    return Part(re.escape(character), (character,), 1, 0, False, True, character, character, True)  # noqa: FBT003 - fields


def joined(parts: list[Part]) -> Part:
    """One part behind the other."""
    if len(parts) == 1:
        return parts[0]
    ways, stars = 1, [part.stars for part in parts if part.stars is not None]
    runs = [""]  # of text that every match holds; the last one goes on
    for part in parts:
        ways = min(ways * part.ways, WAYS + 1)
        runs = [*runs[:-1], runs[-1] + part.ending] if part.fixed else [*runs, part.inside, part.ending]
    return Part(
        "".join(part.expression for part in parts),
        tuple(step for part in parts for step in part.steps),
        ways,
        sum(stars) if len(stars) == len(parts) else None,
        all(part.can_be_empty for part in parts),
        inside=max(runs, key=len),
        ending=runs[-1],
        fixed=all(part.fixed for part in parts),
    )


def either(first: Part, second: Part) -> Part:
    """One part or, if it does not match, the other."""
    steps = (("split", 1, len(first.steps) + 2), *first.steps, go(len(second.steps) + 1), *second.steps)
    return Part(
        f"{first.expression}|{second.expression}",
        steps,
        min(first.ways + second.ways, WAYS + 1),
        max(first.stars, second.stars) if first.stars is not None and second.stars is not None else None,
        first.can_be_empty or second.can_be_empty,
    )


def optional(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps once, or not at all."""
    return (("split", 1, len(steps) + 1), *steps)


def any_number(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps as often as they match."""
    return (("split", 1, len(steps) + 2), *steps, go(-len(steps) - 1))


def go(steps: int) -> tuple[str, int, int]:
    """A step that leads elsewhere without choice."""
    return ("split", steps, steps)


def lower_step(step: Step) -> Step:
    """The step that reads the small letter."""
    return lower(step) if isinstance(step, str) else step
