"""The process that understands a token: the token and whom the site believes come in, who it is goes out.

``gridwarden.mapper.token`` starts it for one token.  Like ``verifier`` it loads its code first, then gives up all
rights, says so, and only then reads.  It gets no secret: which of a pool's keys signed an IDTOKEN has been found out
before.
"""

from __future__ import annotations

import os
import sys
import time

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import confine, jws, token_claims, token_request
from gridwarden.tab_file import encode, escape

INPUT_LIMIT = 16 * 1024 * 1024
READY = b"ready\n"


def main() -> None:
    """Answer on descriptor 1 about the request on descriptor 0; the last argument limits processor seconds."""
    confine.confine(int(sys.argv[-1]))
    os.write(1, READY)
    try:
        answer = who_is(token_request.decode(os.read(0, INPUT_LIMIT)), int(time.time()))
    except Refused as refusal:
        answer = [("refused", refusal.reason), ("detail", refusal.detail)]
    except ConfigurationError as fault:
        answer = [("fault", str(fault)), ("hint", fault.hint)]
    os.write(1, encode(answer))
    os._exit(0)  # taking the interpreter apart would cost a tenth of the time


def who_is(request: token_request.Request, now: int) -> list[tuple[str, str]]:
    """The identity that a token proves, as pairs; raises Refused, and ConfigurationError for its issuer's keys."""
    token = jws.parse(request.token)
    named = token.payload.get("iss")
    issuer = request.issuers.get(named) if isinstance(named, str) else None
    if issuer is None:
        shown = escape(named[:200]) if isinstance(named, str) else "nobody"
        raise Refused(reasons.CREDENTIAL_UNTRUSTED, f"this site believes no tokens of {shown}")
    if issuer.fault:
        raise ConfigurationError(issuer.fault)
    if issuer.kind == token_claims.IDTOKENS:
        require_pool_key(token, issuer)
    elif not issuer.keys:
        raise Refused(reasons.CREDENTIAL_UNTRUSTED, f"there are no keys of {issuer.issuer}; gridwarden token refresh")
    else:
        jws.verify(token, issuer.keys, issuer.words)
    return token_claims.flat(
        token.payload,
        kind=issuer.kind,
        audiences=issuer.audiences,
        now=now,
        skew=request.skew,
        reference=request.reference,
        endless=issuer.endless,
    )


def require_pool_key(token: jws.Jws, issuer: token_request.Trusted) -> None:
    """Refuse an IDTOKEN that the key it names has not signed, or that names another algorithm than HTCondor's."""
    algorithm, kid = token.header.get("alg"), token.header.get("kid")
    if algorithm != "HS256" or not isinstance(kid, str) or kid not in issuer.words:
        raise Refused(reasons.CREDENTIAL_UNTRUSTED, f"the token is not signed with a key of {issuer.issuer}")
