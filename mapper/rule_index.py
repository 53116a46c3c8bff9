"""Which of many rules could match somebody: found by what their patterns hold literally, without trying each rule."""

from __future__ import annotations

from _collections_abc import Sequence

from gridwarden.mapper.map_files import SPECIAL
from gridwarden.mapper.rules import VALUES, Rule, patterns

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gridwarden.mapper.identity import Identity

WILDCARDS = "*?[]"


class IndexedRules(Sequence[Rule]):
    """The rules of a policy; ``candidates`` are those that could match, in their order.

    Each rule is looked up by one of its conditions, in the order of ``VALUES``, a literal one if there is any; one that
    has none of them is always a candidate.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._literal: dict[tuple[str, str], list[int]] = {}
        # condition -> start -> (end, inside, rule)
        self._starts: dict[str, dict[str, list[tuple[str, str, int]]]] = {}
        self._others: list[int] = []
        for number, rule in enumerate(self._rules, 1):
            condition, pattern = anchor_of(rule)
            if not condition:
                self._others.append(number)
                continue
            self._literal.setdefault((condition, pattern), []).append(number)
            if not SPECIAL.isdisjoint(pattern):
                start, inside, end = literals(pattern)
                self._starts.setdefault(condition, {}).setdefault(start, []).append((end, inside, number))
        self._lengths = {name: sorted({len(start) for start in starts}) for name, starts in self._starts.items()}

    def __len__(self) -> int:
        return len(self._rules)

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - one or several, and to say so takes typing
        return self._rules[place]

    def candidates(self, identities: Sequence[Identity]) -> list[int]:
        """The numbers, from 1, of the rules that could match, in their order."""
        found = set(self._others)
        for condition, value in {
            (name, value) for name, of in VALUES.items() for who in identities for value in of(who)
        }:
            found.update(self._literal.get((condition, value), ()))
            for length in self._lengths.get(condition, ()):
                ends = self._starts[condition].get(value[:length], ())
                found.update([number for end, inside, number in ends if inside in value and value.endswith(end)])
        return sorted(found)


def anchor_of(rule: Rule) -> tuple[str, str]:
    """The condition by which a rule is looked up and its pattern; empty when it has none."""
    given = [(name, pattern) for name in VALUES for pattern in patterns(rule, name)]
    return next((one for one in given if SPECIAL.isdisjoint(one[1])), given[0] if given else ("", ""))


def literals(pattern: str) -> tuple[str, str, str]:
    """How whatever a pattern matches begins, what else is in it (the longest such text), and how it ends."""
    places = [place for place, character in enumerate(pattern) if character in WILDCARDS]
    inside = "" if "[" in pattern else max(pattern.replace("?", "*").split("*"), key=len)
    return pattern[: places[0]], inside, pattern[places[-1] + 1 :]
