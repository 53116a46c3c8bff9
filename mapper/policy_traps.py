"""What in the rules of site.yaml probably does not do what its author meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.mapper.ban_list import BEGINNINGS
from gridwarden.mapper.identity import as_in_a_dn, without_null
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
    yield from for_nobody(rule)
    for place, other in enumerate(above):
        if takes_all(other, rule):
            yield f"never comes into play: policy[{place}] takes whoever it is for"
            return


def for_nobody(rule: Rule) -> Iterator[str]:
    """Patterns of a rule that no DN, FQAN or VO can match."""
    for key, pattern in [("dn", rule.dn or ""), *(("fqan", one) for one in several(rule.fqan))]:
        if pattern and not pattern.startswith(BEGINNINGS):
            yield f"{key} {pattern} matches nobody: it begins with /" + ", as /DC=org/CN=Anna" * (key == "dn")
        elif not pattern.isascii():
            yield f"{key} {pattern} matches nobody: write {as_in_a_dn(pattern)}"
        elif key == "fqan" and pattern.endswith("/"):
            yield f"fqan {pattern} matches nobody: none ends with /"
    if rule.vo and "/" in rule.vo:
        yield f"vo {rule.vo} matches nobody: a VO is named without /"


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
