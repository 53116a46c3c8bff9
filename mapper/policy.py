"""The site's policy: ordered rules, of which the first that matches decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper.identity import without_null
from gridwarden.mapper.map_files import SPECIAL, matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.identity import Identity


class Rule(NamedTuple):
    """Patterns for the subject and for any one of the FQANs, and what becomes of who matches.

    An FQAN pattern that spells out ``/Role=NULL/Capability=NULL`` means the FQAN without, as in ban files.

    Exactly one of ``pool``, ``account`` and ``refuse`` (a sentence) is given; a rule with both patterns
    needs both to match.
    """

    dn: str | None = None
    fqan: str | None = None
    pool: str | None = None
    account: str | None = None
    refuse: str | None = None


class Decision(NamedTuple):
    """``kind`` is "pool" or "account", ``target`` its name, ``rule`` counts from 1."""

    kind: str
    target: str
    rule: int


def decide(identity: Identity, rules: Sequence[Rule]) -> Decision:
    """What the first matching rule says; raises Refused (policy-refused, policy-no-match)."""
    for number, rule in enumerate(rules, 1):
        if not rule_matches(rule, identity):
            continue
        if rule.pool is not None:
            return Decision("pool", rule.pool, number)
        if rule.account is not None:
            return Decision("account", rule.account, number)
        raise Refused(reasons.POLICY_REFUSED, f"{rule.refuse} (rule {number}, {identity.subject})")
    fqans = " ".join(identity.fqans) or "no FQAN"
    raise Refused(
        reasons.POLICY_NO_MATCH,
        f"{identity.subject} with {fqans} matches none of the {len(rules)} rules",
        "add a rule to policy in site.yaml, if they are to run here",
    )


def rule_matches(rule: Rule, identity: Identity) -> bool:
    """Whether every pattern that the rule has matches; a rule without any matches nobody."""
    if rule.dn is None and rule.fqan is None:
        return False
    return (rule.dn is None or matches(rule.dn, identity.subject)) and (
        rule.fqan is None or any(matches(without_null(rule.fqan), fqan) for fqan in identity.fqans)
    )


def vo_of_account(account: str, rules: Sequence[Rule]) -> str:
    """The VO that alone can reach a fixed account: every rule for it names that VO; empty otherwise."""
    vos = {literal_vo(rule.fqan) for rule in rules if rule.account == account}
    return vos.pop() if len(vos) == 1 else ""


def literal_vo(fqan_pattern: str | None) -> str:
    """The first component of an FQAN pattern, or nothing where that is itself a pattern."""
    vo = (fqan_pattern or "").removeprefix("/").partition("/")[0]
    return vo if SPECIAL.isdisjoint(vo) else ""
