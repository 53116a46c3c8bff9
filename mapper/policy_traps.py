"""What in the rules of site.yaml probably does not do what its author meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.mapper.identity import without_null
from gridwarden.mapper.map_files import SPECIAL, matches
from gridwarden.mapper.rules import conditions, several

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gridwarden.mapper.rules import Rule


def traps(rules: Sequence[Rule]) -> list[str]:
    """A sentence for each trap."""
    return [f"policy[{place}]: {what}" for place, rule in enumerate(rules) for what in of_rule(rule, rules[:place])]


def of_rule(rule: Rule, above: Sequence[Rule]) -> Iterator[str]:
    """The traps in one rule, below the rules ``above``."""
    if rule.dn and not {"[", "?"}.isdisjoint(rule.dn):
        yield f"[ and ? are wildcards: dn {rule.dn} stands for others, too"
    for place, other in enumerate(above):
        if takes_all(other, rule):
            yield f"never comes into play: policy[{place}] takes whoever it is for"
            return


def takes_all(other: Rule, rule: Rule) -> bool:
    """Whether ``other`` decides for whoever meets ``rule``, as far as one pattern for DNs or FQANs tells.

    Whoever has a role or a subgroup has its groups too: VOMS puts all of a member's groups into a proxy.
    """
    if conditions(other) not in ([(("x509",), ["dn"])], [(("x509",), ["fqan"])]) or other.map_file or other.globus:
        return False
    if rule.limited and not other.limited and other.refuse is None:
        return False
    if other.dn:
        return rule.dn is not None and includes(other.dn, rule.dn)
    patterns = several(other.fqan)
    return len(patterns) == 1 and any(
        includes(without_null(patterns[0]), name) for one in several(rule.fqan) for name in held_with(without_null(one))
    )


def includes(pattern: str, other: str) -> bool:
    """Whether all that ``other`` matches is matched by ``pattern``: equal, or a pattern with no wildcard but ``*``."""
    return pattern == other or ({"?", "["}.isdisjoint(pattern) and matches(pattern, other))


def held_with(fqan: str) -> Iterator[str]:
    """An FQAN, and the groups that VOMS gives to whoever has it."""
    yield fqan
    if SPECIAL.isdisjoint(fqan):
        group = fqan.partition("/Role=")[0].partition("/Capability=")[0]
        while group:
            yield group
            group = group.rpartition("/")[0]
