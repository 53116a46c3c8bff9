"""The site's policy: ordered rules, of which the first that matches decides.

Nothing is read or written here.  What rules refer to (the time, map files, Globus documents) comes with
``Surroundings``, so the same question has the same answer.
"""

from __future__ import annotations

from gridwarden import pools, reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Presented, globus_identities, who_meets, why_not
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridwarden.mapper.globus import Mapped
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.map_files import MapFile
    from gridwarden.mapper.rules import Rule


REFUSE = "refuse"


class Surroundings(NamedTuple):
    """What rules refer to.

    ``now`` is in seconds since the epoch; ``pools`` are the site's; ``map_file`` gives the map file at a path, and
    ``globus`` what a set of documents gives to Globus identities of one person, or None.  Both may raise
    ConfigurationError.
    """

    map_file: Callable[[str], MapFile]
    globus: Callable[[str, Sequence[Identity]], Mapped | None]
    pools: tuple[str, ...]
    now: int = 0
    limited_proxies: bool = False


def not_here(name: object, *_: object) -> MapFile:
    """Nothing that a rule refers to: raises ConfigurationError."""
    raise ConfigurationError(f"{name} cannot be asked here")


NOWHERE = Surroundings(not_here, not_here, ())  # type: ignore[arg-type]  # it returns nothing


class Decision(NamedTuple):
    """``kind`` is "pool" or "account", ``target`` its name, ``rule`` counts from 1, ``identity`` is who gets it.

    ``primary_group`` (empty: the account's own) and ``secondary_groups`` are names of groups; ``because`` names what
    beside the rule decided: a line of a map file, or Globus documents.
    """

    kind: str
    target: str
    rule: int
    identity: Identity
    primary_group: str = ""
    secondary_groups: tuple[str, ...] = ()
    because: str = ""


class Outcome(NamedTuple):
    """What a rule that matches gives, as in ``Decision``; or ``REFUSE`` and its sentence.

    ``identity`` is who gets it, where that need not be the first who met a condition.
    """

    kind: str
    target: str
    because: str = ""
    identity: Identity | None = None


def decide(
    identities: Sequence[Identity],
    rules: Sequence[Rule],
    around: Surroundings = NOWHERE,
    explain: list[str] | None = None,
) -> Decision:
    """What the first rule says that matches who presents these identities at once.

    ``explain`` collects a sentence for each rule, from the first to the one that decides.  Raises Refused
    (policy-refused, policy-no-match, credential-limited) and ConfigurationError where what a rule refers to cannot be
    used: nobody is then mapped by a rule below it.
    """
    presented = Presented(tuple(identities), around.now, around.limited_proxies)
    numbers = rules.candidates(presented.identities) if isinstance(rules, IndexedRules) else range(1, len(rules) + 1)
    for number in range(1, len(rules) + 1) if explain is not None else numbers:
        rule = rules[number - 1]
        met = who_meets(rule, presented)
        outcome = outcome_of(rule, met, presented, around) if met else None
        if explain is not None:
            explain.append(f"rule {number} {told(rule, presented, met, outcome)}")
        if outcome and outcome.kind == REFUSE:
            raise Refused(reasons.POLICY_REFUSED, f"{rule.refuse} (rule {number}, {met[0].subject})")
        if outcome:
            who = outcome.identity or met[0]
            return Decision(outcome.kind, outcome.target, number, who, *groups(rule, met, around), outcome.because)
    raise nobody(presented, rules)


def outcome_of(rule: Rule, met: Sequence[Identity], presented: Presented, around: Surroundings) -> Outcome | None:
    """What a rule gives to those who meet its conditions; None where what it refers to does not know them."""
    if rule.refuse is not None:
        return Outcome(REFUSE, rule.refuse)
    if rule.pool is not None:
        return Outcome("pool", rule.pool)
    if rule.account is not None:
        return Outcome("account", rule.account)
    if rule.map_file is not None:
        return from_map_file(rule, rule.map_file, met, around)
    if rule.globus is not None:
        return from_globus(rule.globus, globus_identities(rule, presented), around)
    return None


def from_globus(name: str, identities: Sequence[Identity], around: Surroundings) -> Outcome | None:
    """What a set of Globus documents gives to one of the identities, or None; raises ConfigurationError."""
    mapped = around.globus(name, identities)
    if not mapped:
        return None
    return checked(Outcome("account", mapped.account, mapped.where, mapped.identity), mapped.where, around.pools)


def from_map_file(rule: Rule, path: str, met: Sequence[Identity], around: Surroundings) -> Outcome | None:
    """What the rule's map file gives as its plugin of LCMAPS reads it, or None; raises ConfigurationError."""
    certificate = next(who for who in met if who.scheme == "x509")
    map_file = around.map_file(path)
    plugin = str(rule.plugin)
    from gridwarden.mapper import lcmaps_plugins  # noqa: PLC0415 - few rules have a map file

    found = lcmaps_plugins.find(plugin, certificate, map_file)
    if not found:
        return None
    where = f"{map_file.name}:{found.line}"
    kind = "pool" if lcmaps_plugins.PLUGINS[plugin].pools else "account"
    return checked(Outcome(kind, found.value, f"{where} for {found.matched}"), where, around.pools)


def checked(outcome: Outcome, where: str, declared: Sequence[str]) -> Outcome:
    """An outcome from outside site.yaml, held to what rules are held to; raises ConfigurationError."""
    if outcome.kind == "pool" and outcome.target not in declared:
        raise ConfigurationError(f"{where}: pool {outcome.target!r} is not one of pools", "declare it in site.yaml")
    lent = [pool for pool in declared if outcome.kind == "account" and pools.is_of_pool(outcome.target, pool)]
    if lent:
        raise ConfigurationError(
            f"{where}: account {outcome.target!r} is one that pool {lent[0]!r} lends",
            f"map to .{lent[0]}, or to an account of no pool",
        )
    return outcome


def groups(rule: Rule, met: Sequence[Identity], around: Surroundings) -> tuple[str, tuple[str, ...]]:
    """The primary and the secondary groups that a rule gives; raises ConfigurationError as ``decide``."""
    if rule.groupmapfile is None:
        return rule.primary_group or "", rule.secondary_groups
    fqans = next((who.fqans for who in met if who.scheme == "x509"), ())
    from gridwarden.mapper import lcmaps_plugins  # noqa: PLC0415 - few rules have a map file

    return lcmaps_plugins.groups_of(fqans, around.map_file(rule.groupmapfile))


def told(rule: Rule, presented: Presented, met: Sequence[Identity], outcome: Outcome | None) -> str:
    """Why a rule decides, or why it does not."""
    if outcome:
        because = f" ({outcome.because})" if outcome.because else ""
        return f"says {outcome.kind} {outcome.target} for {(outcome.identity or met[0]).subject}{because}"
    if not met:
        return f"does not match: {why_not(rule, presented)}"
    where = (
        f"plugin {rule.plugin} finds no line in {rule.map_file}" if rule.map_file else f"globus {rule.globus} maps none"
    )
    return f"does not match: {where} for {met[0].subject}"


def nobody(presented: Presented, rules: Sequence[Rule]) -> Refused:
    """The refusal of somebody whom no rule matches."""
    open_to_limited = presented._replace(limited_proxies=True)
    if any(who.limited for who in presented.identities) and any(who_meets(rule, open_to_limited) for rule in rules):
        return Refused(
            reasons.CREDENTIAL_LIMITED,
            f"{presented.identities[0].subject} shows a limited proxy, and no rule that matches allows one",
            "delegate a full proxy, or set limited: true on the rule in site.yaml",
        )
    who = " and ".join(f"{one.subject} with {attributes(one)}" for one in presented.identities) or "nobody"
    return Refused(
        reasons.POLICY_NO_MATCH,
        f"{who} matches no rule of the policy",
        "add a rule to policy in site.yaml, if they are to run here",
    )


def attributes(who: Identity) -> str:
    """What else than the subject a credential says that a rule could match."""
    if who.scheme == "x509":
        return " ".join(who.fqans) or "no FQAN"
    if who.scheme == "globus":
        return who.username or "no user name"
    return " ".join((*who.groups, *who.scopes)) or "no group or scope"
