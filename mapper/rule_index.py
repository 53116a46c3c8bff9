"""Which of many rules could match somebody: found by what the rules say literally, without trying each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, overload

from gridwarden.mapper.identity import without_null
from gridwarden.mapper.map_files import SPECIAL
from gridwarden.mapper.rules import CERTIFICATE, TOKEN, Rule, several, sub_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gridwarden.mapper.identity import Identity

ANCHORS = ("dn", "subject", "fqan", "group", "issuer")
"""Conditions by which a rule is looked up, those first that few people meet; a rule with none is always tried."""


class IndexedRules(Sequence[Rule]):
    """The rules of a policy; ``candidates`` are those that could match, in their order."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._literal: dict[tuple[str, str], list[int]] = {}
        self._patterns: dict[str, list[tuple[int, Callable[[str], object]]]] = {}
        self._others: list[int] = []
        for number, rule in enumerate(self._rules, 1):
            condition, pattern = anchor_of(rule)
            if not condition:
                self._others.append(number)
                continue
            self._literal.setdefault((condition, pattern), []).append(number)
            if not SPECIAL.isdisjoint(pattern):
                self._patterns.setdefault(condition, []).append((number, re.compile(translate(pattern)).match))

    def __len__(self) -> int:
        return len(self._rules)

    @overload
    def __getitem__(self, place: int) -> Rule: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Rule, ...]: ...
    def __getitem__(self, place: int | slice) -> Rule | tuple[Rule, ...]:
        return self._rules[place]

    def candidates(self, identities: Sequence[Identity]) -> list[int]:
        """The numbers, from 1, of the rules that could match, in their order."""
        found = set(self._others)
        for condition, value in set(values_of(identities)):
            found.update(self._literal.get((condition, value), ()))
            found.update([number for number, test in self._patterns.get(condition, ()) if test(value)])
        return sorted(found)


def anchor_of(rule: Rule) -> tuple[str, str]:
    """The condition by which a rule is looked up and its pattern; empty when it has none of ``ANCHORS``."""
    given = [(name, without_null(one) if name == "fqan" else one) for name in ANCHORS for one in asked(rule, name)]
    return next(((name, one) for name, one in given if SPECIAL.isdisjoint(one)), given[0] if given else ("", ""))


def asked(rule: Rule, name: str) -> tuple[str, ...]:
    """The patterns of one condition of a rule."""
    return several(getattr(rule, name) or ())


def values_of(identities: Sequence[Identity]) -> Iterator[tuple[str, str]]:
    """What of the identities each anchor is compared with."""
    for who in identities:
        if who.scheme in CERTIFICATE:
            yield "dn", who.subject
            yield from (("fqan", fqan) for fqan in who.fqans)
        else:
            yield "subject", sub_of(who)
        if who.scheme in TOKEN:
            yield "issuer", who.issuer
            yield from (("group", group) for group in who.groups)
