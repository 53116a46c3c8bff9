"""The rules of the policy as values: their conditions, and who meets them.

A condition is met by an identity of one kind of credential: a certificate (``x509``), a token (``token``,
``idtoken``), a Globus identity or a local user.  A rule may have conditions of several kinds, for somebody who
presents several credentials at once; conditions of one kind are met by one and the same identity.
"""

from __future__ import annotations

from gridwarden.mapper.identity import TOKEN_SCHEMES, Identity, without_null
from gridwarden.mapper.map_files import SPECIAL, matches
from gridwarden.mapper.spelling import spellings
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

CERTIFICATE = ("x509",)
TOKEN = TOKEN_SCHEMES
GLOBUS = ("globus",)
NAMED = ("globus", "local")  # whose subject stands for itself, without an issuer
ANY = (*CERTIFICATE, *TOKEN, *NAMED)
KIND_NAMES = {
    CERTIFICATE: "a certificate",
    TOKEN: "a token",
    GLOBUS: "a Globus identity",
    NAMED: "a Globus identity or a local user",
    ANY: "an identity",
}


class Rule(NamedTuple):
    """Conditions, each a pattern or several that must all match, and what becomes of who meets them all.

    gridwarden/policy_settings.py declares what each means.  An FQAN pattern that spells out
    ``/Role=NULL/Capability=NULL`` means the FQAN without, as in ban files.  Exactly one of ``pool``, ``account``,
    ``refuse`` (a sentence), ``map_file`` (with the ``plugin`` of LCMAPS that reads such a file) and ``globus`` is
    given; ``primary_group``, ``secondary_groups`` or ``groupmapfile`` go with any but ``refuse``.
    """

    dn: str | None = None
    fqan: str | tuple[str, ...] = ()
    vo: str | None = None
    issuer: str | None = None
    subject: str | None = None
    group: str | tuple[str, ...] = ()
    scope: str | tuple[str, ...] = ()
    audience: str | None = None
    identity_provider: str | None = None
    authenticated_within_minutes: int | None = None
    limited: bool = False
    pool: str | None = None
    account: str | None = None
    refuse: str | None = None
    map_file: str | None = None
    plugin: str | None = None
    globus: str | None = None
    primary_group: str | None = None
    secondary_groups: tuple[str, ...] = ()
    groupmapfile: str | None = None


class Presented(NamedTuple):
    """What somebody shows at one time, in their order; ``now`` is in seconds since the epoch.

    ``limited_proxies``: the site lets a limited proxy meet every rule, not only those that say so.
    """

    identities: tuple[Identity, ...]
    now: int = 0
    limited_proxies: bool = False


def several(patterns: str | tuple[str, ...]) -> tuple[str, ...]:
    """The patterns of a condition that may have one or several."""
    return (patterns,) if isinstance(patterns, str) else patterns


def sub_of(who: Identity) -> str:
    """What an issuer calls the holder of its token; of any other identity the subject itself."""
    return who.subject[len(who.issuer) + 1 :] if who.issuer else who.subject


def recent(who: Identity, minutes: int, now: int) -> bool:
    """Whether they proved who they are within the last ``minutes``; a minute is left to clocks that differ."""
    return 0 < who.authenticated <= now + 60 and now - minutes * 60 <= who.authenticated


AUTHENTICATED = "authenticated_within_minutes"
VALUES: dict[str, Callable[[Identity], tuple[str, ...]]] = {
    # Of the name, not of the pattern: /CN=host\/* is not for /CN=host/CN=anna.
    "dn": lambda who: spellings(who.subject),
    "subject": lambda who: (sub_of(who),),
    "fqan": lambda who: who.fqans,
    "group": lambda who: who.groups,
    "issuer": lambda who: (who.issuer,),
    "scope": lambda who: who.scopes,
    "audience": lambda who: who.audiences,
    "identity_provider": lambda who: (who.identity_provider,),
    "vo": lambda who: (who.vo,) if who.vo else (),
}
"""What of an identity the patterns of each condition are compared with."""


def patterns(rule: Rule, name: str) -> tuple[str, ...]:
    """The patterns of one condition, each of which must match one of the identity's ``VALUES``."""
    given = several(getattr(rule, name) or ())
    return tuple(map(without_null, given)) if name == "fqan" else given


def meets(rule: Rule, name: str, who: Identity, now: int) -> bool:
    """Whether an identity meets one condition."""
    if name == AUTHENTICATED:
        return recent(who, rule.authenticated_within_minutes or 0, now)
    values = VALUES[name](who)
    return all(any(matches(pattern, value) for value in values) for pattern in patterns(rule, name))


def conditions(rule: Rule) -> list[tuple[tuple[str, ...], list[str]]]:
    """The kinds of identity that a rule asks for (schemes), each with its conditions; none: it matches nobody."""
    certificate = [name for name in ("dn", "fqan") if getattr(rule, name)]
    token = [name for name in ("issuer", "subject", "group", "scope", "audience") if getattr(rule, name)]
    globus = [name for name in ("identity_provider", AUTHENTICATED) if getattr(rule, name)]
    named: list[str] = []
    if rule.subject and not rule.issuer:
        token.remove("subject")
        named = ["subject"]
    kinds = [(CERTIFICATE, certificate), (TOKEN, token), (GLOBUS, [*named, *globus] if globus else [])]
    kinds += [(NAMED, named)] if named and not globus else []
    found = [(schemes, names) for schemes, names in kinds if names]
    if rule.map_file and not certificate:
        found.insert(0, (CERTIFICATE, []))
    if rule.globus and not globus:
        found.append((GLOBUS, []))
    if rule.vo:
        if found:
            found[0][1].append("vo")
        else:
            found.append((ANY, ["vo"]))
    return found


def who_meets(rule: Rule, presented: Presented) -> list[Identity]:
    """For each kind of identity that the rule asks for the first that meets its conditions; empty unless all do."""
    found = []
    for schemes, names in conditions(rule):
        for who in presented.identities:
            if who.scheme in schemes and not unmet(rule, names, who, presented):
                found.append(who)
                break
        else:
            return []
    return sorted(found, key=presented.identities.index)


def globus_identities(rule: Rule, presented: Presented) -> list[Identity]:
    """All of somebody's linked Globus identities that meet the rule's conditions of that kind."""
    names = [name for schemes, some in conditions(rule) if schemes == GLOBUS for name in some]
    return [who for who in presented.identities if who.scheme in GLOBUS and not unmet(rule, names, who, presented)]


def unmet(rule: Rule, names: Sequence[str], who: Identity, presented: Presented) -> str:
    """The first condition of ``names`` that an identity does not meet; empty when it meets all.

    A limited proxy, which others could have got hold of, meets no rule that maps, unless that rule or the site says so.
    """
    for name in names:
        if not meets(rule, name, who, presented.now):
            return name
    allowed = not who.limited or rule.limited or presented.limited_proxies or rule.refuse is not None
    return "" if allowed else "limited"


def why_not(rule: Rule, presented: Presented) -> str:
    """A sentence that says why ``who_meets`` found nobody, or not everybody whom it takes."""
    kinds = conditions(rule)
    if not kinds:
        return "it has no condition"
    for schemes, names in kinds:
        shown = [who for who in presented.identities if who.scheme in schemes]
        missing = [(who, unmet(rule, names, who, presented)) for who in shown]
        if all(name for _, name in missing):
            return "; ".join(_sentence(rule, who, name) for who, name in missing) or f"it takes {KIND_NAMES[schemes]}"
    return ""


def _sentence(rule: Rule, who: Identity, name: str) -> str:
    if name == "limited":
        return f"{who.subject} shows a limited proxy, which the rule does not allow"
    if name == AUTHENTICATED:
        return f"{who.subject} did not authenticate within {rule.authenticated_within_minutes} minutes"
    shown = " ".join(VALUES[name](who)) or "nothing"
    return f"{name} {' '.join(patterns(rule, name))} does not match {shown}"


def vo_of_account(account: str, rules: Iterable[Rule]) -> str:
    """The VO that alone can reach a fixed account: every rule for it names that VO; empty otherwise.

    Where a map file or a Globus document gives accounts, nothing here says which.
    """
    vos = set(_literal_vos(account, rules))
    return vos.pop() if len(vos) == 1 else ""


def _literal_vos(account: str, rules: Iterable[Rule]) -> Iterator[str]:
    for rule in rules:
        if rule.globus or rule.map_file:
            yield ""
        elif rule.account == account:
            named = {literal_vo(one) for one in several(rule.fqan)}
            yield named.pop() if len(named) == 1 else ""


def literal_vo(fqan_pattern: str) -> str:
    """The first component of an FQAN pattern, or nothing where that is itself a pattern."""
    vo = fqan_pattern.removeprefix("/").partition("/")[0]
    return vo if SPECIAL.isdisjoint(vo) else ""
