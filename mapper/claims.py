"""Identities that a trusted caller has verified already: an HTCondor-CE or ARC, or an administrator who asks.

What is in them came from outside all the same, so every field is checked as if it came from a verifier.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gridwarden import reasons, tab_file
from gridwarden.errors import Refused
from gridwarden.mapper import bans, identity, lease, token_claims
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.spelling import is_ambiguous
from gridwarden.sha256 import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gridwarden.mapper.site import SiteValues


def from_claims(
    claims: Mapping[str, Any], site: SiteValues, now: int | None = None, *, endless: bool = False
) -> Identity:
    """The identity that a token's claims (its payload as JSON gives it) make, whose signature the caller has checked.

    All but the signature is judged as ``token.verify_token`` does: the issuer must be one of the site's, and where it is
    not, a ban of it is said first: nobody else shall map them.  ``now`` is
    in seconds since the epoch; ``endless``: the caller keeps the times to itself.  Raises Refused.
    """
    named = claims.get("iss")
    issuer = next((one for one in site.tokens.issuers if one.issuer == named), None)
    pool = next((one for one in site.tokens.idtokens if one.trust_domain == named), None)
    if issuer is None and pool is None:
        lease.refuse_banned([_stranger(claims)], bans.in_force(site))
        shown = tab_file.escape(named[:200]) if isinstance(named, str) else "nobody"
        raise Refused(
            reasons.CREDENTIAL_UNTRUSTED,
            f"this site believes no claims of {shown}",
            "name the issuer under tokens in site.yaml, if its people are to run here",
        )
    pairs = token_claims.flat(
        dict(claims),
        kind=issuer.kind if issuer else token_claims.IDTOKENS,
        audiences=issuer.audiences if issuer else (),
        now=int(time.time()) if now is None else now,
        skew=site.tokens.skew,
        reference=f"sha256={sha256(repr(sorted(claims.items(), key=str)).encode()).hexdigest()}",
        endless=endless or bool(pool and pool.endless),
    )
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    try:
        person = identity.from_answer(values, "token" if issuer else "idtoken")
    except ValueError as error:
        raise Refused(
            reasons.CREDENTIAL_MALFORMED, f"the claims cannot be used: {error} is not as it should be"
        ) from error
    return person._replace(vo=site.tokens.vo_of(person.issuer))


def _stranger(claims: Mapping[str, Any]) -> Identity:
    """Whom the claims of an issuer name that is none of the site's: only to see whether that one is banned."""
    issuer, sub, jti = (value if isinstance(value := claims.get(name), str) else "" for name in ("iss", "sub", "jti"))
    subject = tab_file.escape(f"{issuer},{sub}"[: identity.MAXIMUM_NAME])  # nobody has checked it
    return Identity("token", subject, (), "", f"jti={jti}" if jti else "", 0, limited=False, issuer=issuer)


def from_dn(dn: str, fqans: Iterable[str] = (), credential: str = "") -> Identity:
    """Whom a trusted caller names by DN and FQANs; ``credential`` says on whose word.  Raises Refused."""
    written = list(fqans)
    if not identity.is_subject(dn):
        raise _malformed(f"{tab_file.escape(dn[:200])} is not a DN in slash form, such as /DC=org/CN=Anna Example")
    if is_ambiguous(dn):
        raise _malformed(f"a part of the name {dn[:200]} could be mistaken for another")
    for fqan in written:
        if not identity.is_fqan(fqan):
            raise _malformed(f"{tab_file.escape(fqan[:200])} is not an FQAN, such as /cms/Role=pilot")
    names = tuple(map(identity.without_null, written))
    vo = names[0].split("/")[1] if names else ""
    return Identity("x509", dn, names, vo, credential, 0, limited=False)


def from_user_name(name: str, credential: str = "") -> Identity:
    """Whom a trusted caller names as a user of its own; ``credential`` as above.  Raises Refused."""
    if not identity.is_user_name(name):
        raise _malformed(f"{tab_file.escape(name[:200])} is not a user name")
    return Identity("local", name, (), "", credential, 0, limited=False)


def _malformed(what: str) -> Refused:
    return Refused(reasons.CREDENTIAL_MALFORMED, what)
