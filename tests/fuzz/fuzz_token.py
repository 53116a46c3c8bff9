"""Tokens, key sets and claims: whatever stands in them is an identity in printable ASCII or refused with a reason."""

from __future__ import annotations

import json

from gridwarden import tab_file
from gridwarden.errors import Refused
from gridwarden.mapper import identity, token_verifier
from gridwarden.mapper.claims import from_claims
from gridwarden.mapper.strict_json import parse_object
from gridwarden.mapper.token_request import Request, Trusted
from gridwarden.mapper.token_values import Issuer, TokenValues
from tests.tokens import CMS, HERE, Key, claims, key_set

NOW = 1_800_000_000
KEY = Key.new()
HONEST = claims(exp=NOW + 60, nbf=NOW, iat=NOW)
SEEDS = [
    KEY.sign(HONEST),
    KEY.sign(HONEST, alg="none"),
    b"\n" + key_set(KEY, Key.new("RS256")),
    b"{" + json.dumps(HONEST).encode(),
    b"{" + json.dumps(claims(aud=[HERE, "x"], exp=NOW + 0.5, scope=None)).encode(),
]


class Site:
    """As much of a site as tokens need."""

    bans = ban_lists = ()
    tokens = TokenValues(issuers=(Issuer(CMS, "wlcg", ("ES256", "RS256"), (HERE,), None),))


def one(data: bytes) -> None:
    try:
        person = by_first_byte(data)
    except Refused as refusal:
        tab_file.encode([("detail", refusal.detail)])
        return
    for text in (person.subject, person.credential, *person.groups, *person.scopes, *person.audiences):
        assert text.isascii() and text.isprintable()
    assert person.subject.startswith(f"{CMS},")


def by_first_byte(data: bytes) -> identity.Identity:
    """A payload behind ``{`` (signed, and as claims), a key set behind a newline, else a whole token."""
    if data[:1] == b"{":
        try:
            from_claims(parse_object(data[1:], 65536), Site, NOW)
        except ValueError:
            pass
        return verified(KEY.sign(data[1:]), key_set(KEY))
    if data[:1] == b"\n":
        return verified(SEEDS[0], data[1:])
    return verified(data, key_set(KEY))


def verified(token: bytes, keys: bytes) -> identity.Identity:
    trusted = Trusted(CMS, "wlcg", ("ES256", "RS256"), (HERE,), keys)
    values: dict[str, list[str]] = {}
    for name, value in token_verifier.who_is(Request(token, "sha256=" + "0" * 64, 60, {CMS: trusted}), NOW):
        values.setdefault(name, []).append(value)
    try:
        return identity.from_answer(values, "token")
    except ValueError as error:
        raise Refused("x", str(error)) from error
