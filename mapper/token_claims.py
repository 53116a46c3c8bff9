"""What a token's claims say, as flat pairs; pure.

SciTokens: https://scitokens.org/technical_docs/Claims (2.0).  WLCG: Common JWT Profiles 1.0, zenodo.org/records/3460258.
HTCondor's IDTOKENS: generate_token in src/condor_io/condor_auth_passwd.cpp, version 23.9.6.
"""

from __future__ import annotations

import math

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper.identity import LATEST, MAXIMUM_VALUES
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn


IDTOKENS = "idtokens"


def flat(
    claims: dict[str, Any],
    *,
    kind: str,
    audiences: tuple[str, ...] = (),
    now: int,
    skew: int,
    reference: str,
    endless: bool = False,
) -> list[tuple[str, str]]:
    """The pairs of which ``identity.token_from_answer`` makes an identity.

    ``kind`` is ``wlcg``, ``scitokens`` or ``idtokens``; ``now`` and ``skew`` are in seconds; ``reference`` names a
    token that has no ``jti``; ``endless`` lets it have no ``exp``.  Raises Refused (credential-malformed,
    -expired, -audience).
    """
    issuer, sub = _text(claims, "iss"), _text(claims, "sub")
    _require_kind(claims, kind)
    end = _times(claims, now, skew, endless=endless)
    for_whom = _texts(claims, "aud")
    if kind != IDTOKENS and not set(for_whom) & set(audiences):
        said = ", ".join(for_whom[:5]) or "nobody"
        raise Refused(reasons.CREDENTIAL_AUDIENCE, f"the token is meant for {escape(said[:200])}")
    jti = f"jti={_text(claims, 'jti')}" if "jti" in claims else reference
    scopes = _text(claims, "scope").split() if claims.get("scope", "") != "" else []
    return [
        ("issuer", issuer),
        ("sub", sub),
        ("credential", jti),
        ("not_after", str(end)),
        *(("group", group) for group in (_texts(claims, "wlcg.groups") if kind == "wlcg" else [])),
        *(("scope", scope) for scope in scopes),
        *(("audience", audience) for audience in for_whom),
    ]


def _require_kind(claims: dict[str, Any], kind: str) -> None:
    """Refuse a token of another profile than its issuer's: the same claim may mean something else there."""
    profile, ver = claims.get("wlcg.ver"), claims.get("ver")
    if kind == "wlcg" and not (isinstance(profile, str) and profile.startswith("1.")):
        _malformed("wlcg.ver is not 1.x, so it is not a WLCG token")
    if kind == "scitokens" and (profile is not None or not str(ver or "scitoken").startswith("scitoken")):
        _malformed("its version is not that of a SciToken")


def _times(claims: dict[str, Any], now: int, skew: int, *, endless: bool) -> int:
    """When it ends, in seconds since the epoch, 0 for never."""
    starts = [(name, _time(claims, name)) for name in ("nbf", "iat") if name in claims]
    for name, start in starts:
        if start > now + skew:
            _out_of_date(f"the token is not valid before {start} ({name}), and it is {now}")
    if endless and "exp" not in claims:
        return 0
    end = _time(claims, "exp")
    if end <= now - skew:
        _out_of_date(f"the token ended at {end} (exp), and it is {now}")
    return end


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _malformed(f"{name} is missing or not a time")
    if not 0 < value <= LATEST:
        _malformed(f"{name} is not a time")
    return int(value)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        _malformed(f"{name} is missing or not text")
    return value


def _texts(claims: dict[str, Any], name: str) -> list[str]:
    value = claims.get(name, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        _malformed(f"{name} is not a list of texts")
    if len(values) > MAXIMUM_VALUES:
        _malformed(f"{name} has more than {MAXIMUM_VALUES} values")
    return values


def _malformed(what: str) -> NoReturn:
    raise Refused(reasons.CREDENTIAL_MALFORMED, f"the token's claims cannot be used: {what}")


def _out_of_date(what: str) -> NoReturn:
    raise Refused(reasons.CREDENTIAL_EXPIRED, what)
