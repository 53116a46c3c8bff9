"""One ban, as a value, and whom it matches."""

from __future__ import annotations

import time

from gridwarden.mapper import map_files
from gridwarden.mapper.identity import remembered, without_null
from gridwarden.mapper.spelling import plain, spellings
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.holders import Holder
    from gridwarden.mapper.identity import Identity

PATTERN = "pattern"
CONDITIONS = (PATTERN, "vo", "issuer", "subject", "jti", "serial", "account")
IN_FORCE, EXPIRED, NOT_YET = "in force", "expired", "not yet"


class Ban(NamedTuple):
    """Conditions (of ``CONDITIONS``, each once) that who is banned meets every one of, and where that stands.

    ``start`` and ``end`` are times in UTC as ``2026-11-22T04:00:00Z``, or empty: since ever, for ever.  ``made`` is when
    it was written, and decides nothing: another machine's clock may be behind.
    """

    conditions: tuple[tuple[str, str], ...]
    file: str
    line: int
    because: str = ""
    author: str = ""
    start: str = ""
    end: str = ""
    made: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def pattern(self) -> str:
        """Whom it bans, in words: a pattern alone as it is."""
        if self.conditions[0][0] == PATTERN and len(self.conditions) == 1:
            return self.conditions[0][1]
        return " ".join(f"{kind}={value}" for kind, value in self.conditions)

    def state(self, now: str) -> str:
        """Whether it is in force, expired or not yet in force at ``now``, a time as ``start``."""
        return EXPIRED if self.end and self.end <= now else NOT_YET if self.start > now else IN_FORCE


def moment(seconds: float | None = None) -> str:
    """A time in seconds since the epoch, or now, in the form of ``Ban.start``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def banned(identity: Identity, bans: Sequence[Ban], account: str = "") -> Ban | None:
    """The first of the ``bans``, all in force, that matches the identity, or who uses ``account``."""
    return next((ban for ban in bans if is_met(ban, identity, account)), None)


def banned_holder(holder: Holder, bans: Sequence[Ban]) -> Ban | None:
    """The first of the ``bans``, all in force, that matches whoever holds an account."""
    return banned(identity_of(holder), bans, holder.account)


def identity_of(holder: Holder) -> Identity:
    """Who holds an account, as far as its holder file says."""
    person = remembered(holder.scheme, holder.subject, holder.fqans, holder.vo)
    provider = "" if person.issuer else holder.issuer
    return person._replace(credential=holder.credential, identity_provider=provider, username=holder.username)


def is_met(ban: Ban, identity: Identity, account: str = "") -> bool:
    """Whether the identity, using ``account`` where that is known, meets every condition of the ban."""
    return all(_meets(kind, value, identity, account) for kind, value in ban.conditions)


def _meets(kind: str, value: str, identity: Identity, account: str) -> bool:
    match kind:
        case "pattern":
            return any(ban_matches(value, name) for name in (identity.subject, *identity.fqans))
        case "serial":
            serial = identity.credential.partition("/")[0] if identity.scheme == "x509" else ""
            return serial != "" and (serial.lstrip("0") or "0") == value
        case "vo":
            names = (identity.vo, *(fqan.split("/")[1] for fqan in identity.fqans))
        case "issuer":
            return any(is_same(value, one) for one in issuers(identity))
        case "subject":
            names = (identity.subject.removeprefix(f"{identity.issuer},"), identity.username)
            return is_same(value, identity.subject) or value in names
        case "jti":
            names = (identity.credential.removeprefix("jti="),) if identity.credential.startswith("jti=") else ()
        case _:  # "account"; where files are read, any other is refused
            names = (account,)
    return value in names


def issuers(identity: Identity) -> tuple[str, ...]:
    """Who vouches for an identity: a token's issuer, a Globus identity's provider, the CA of a person's certificate."""
    _, slash, authority = identity.credential.partition("/") if identity.scheme == "x509" else ("", "", "")
    return tuple(filter(None, (identity.issuer, identity.identity_provider, slash + authority)))


def ban_matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches an FQAN, or a DN however either is spelled.

    One that spells out ``/Role=NULL/Capability=NULL`` means the FQAN without.
    """
    patterns = known_as(without_null(pattern))
    return any(map_files.matches(one, other) for other in known_as(name) for one in patterns)


def is_same(name: str, other: str) -> bool:
    """Whether two names are one, however either is spelled."""
    return name == other or not set(known_as(name)).isdisjoint(known_as(other))


def known_as(name: str) -> tuple[str, ...]:
    """A name in every spelling, its attributes named as OpenSSL does now: a list of old may say ``/Email=``."""
    return tuple(map(plain, spellings(name)))
