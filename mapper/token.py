"""From a token to an identity: have it verified by a process without rights, check what that says.

Nothing of a token is parsed by the calling process, which is usually root; it reads the files of keys, which are the
site's own.
"""

from __future__ import annotations

import os

from gridwarden import reasons, tab_file, trusted
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import credential_file, readied, token_request, verifying
from gridwarden.mapper.token_request import Trusted
from gridwarden.sha256 import sha256
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.token_values import IdtokenIssuer, Issuer
    from gridwarden.mapper.verifying import Start, Verifier

LONGEST_KEY_SET = 256 * 1024
IDTOKENS = "idtokens"
BLANKS = b" \t\r\n"  # around a token in a file (WLCG Bearer Token Discovery 1.0)


def verify_token(
    presented: str | os.PathLike[str] | bytes, site: SiteValues, caller_uid: int | None = None
) -> Identity:
    """Whom a token, or the file that holds it, proves its holder to be.

    ``caller_uid`` as in ``credential_file.read``.  Raises Refused, ConfigurationError where the keys of the token's issuer
    cannot be used or others could write there, and Unavailable.
    """
    shown = "the token" if isinstance(presented, bytes) else tab_file.escape(os.fspath(presented))
    token = presented if isinstance(presented, bytes) else credential_file.read(presented, caller_uid)
    return identity_of(start(token, site), site, shown)


class Asked(NamedTuple):
    """A verifier at work, and the issuers that it may name: of IDTOKENS only those whose keys have signed this token."""

    verifier: Verifier
    issuers: frozenset[str]


def start(token: bytes, site: SiteValues, by: Start = verifying.start) -> Asked:
    """Start verifying a token; ``identity_of`` waits for the end."""
    token = token.strip(BLANKS)
    believed = believed_of(token, site)
    possible = frozenset(one.issuer for one in believed if one.kind != IDTOKENS or one.words)
    asked = request(token, site, believed)
    verifier = by(readied.TOKENS, [], asked, site.verify_seconds)
    return Asked(verifier, possible)


def believed_of(token: bytes, site: SiteValues) -> list[Trusted]:
    """Whom the site believes, and which keys of its pools signed the token; raises Refused."""
    believed = [_believed(issuer) for issuer in site.tokens.issuers]
    believed += [_believed_pool(token, pool) for pool in site.tokens.idtokens]
    if not believed:
        raise Refused(
            reasons.CREDENTIAL_UNTRUSTED, "this site believes no tokens", "name their issuers under tokens in site.yaml"
        )
    return believed


def request(token: bytes, site: SiteValues, believed: list[Trusted]) -> bytes:
    """What the verifier is told of a token and of whom the site believes."""
    signed = token.rpartition(b".")[0]
    return token_request.encode(token, f"sha256={sha256(signed).hexdigest()}", site.tokens.skew, believed)


def identity_of(asked: Asked, site: SiteValues, shown: str) -> Identity:
    """The identity that the verifier finds, with the VO that the site gives its issuer; raises as ``verify_token``."""
    pools = {pool.trust_domain for pool in site.tokens.idtokens}
    person = verifying.judge(verifying.answer(asked.verifier, shown), shown, "token")
    if person.issuer not in asked.issuers:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{shown}: the verifier named an issuer that cannot have signed it")
    scheme = "idtoken" if person.issuer in pools else "token"
    return person._replace(scheme=scheme, vo=site.tokens.vo_of(person.issuer))


# What is wrong with one issuer's keys stops the tokens of no other; the verifier says it of the issuer's own.
def _believed(issuer: Issuer) -> Trusted:
    believed = Trusted(issuer.issuer, issuer.kind, issuer.algorithms, issuer.audiences)
    if issuer.fetched and not os.path.lexists(issuer.keys):  # nobody has fetched them yet
        return believed
    try:
        return believed._replace(keys=trusted.read_file(issuer.keys, LONGEST_KEY_SET))
    except ConfigurationError as error:
        return believed._replace(fault=str(error))


def _believed_pool(token: bytes, pool: IdtokenIssuer) -> Trusted:
    from gridwarden.mapper import pool_keys  # noqa: PLC0415 - loads OpenSSL, which a site without pools need not wait for

    believed = Trusted(pool.trust_domain, IDTOKENS, (), endless=pool.endless)
    try:
        return believed._replace(words=tuple(pool_keys.signers(token, pool.keys)))
    except ConfigurationError as error:
        return believed._replace(fault=str(error))
