"""Whom a trusted caller names, by a token's claims, a DN or a user name."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import jws, token_request
from gridwarden.mapper.claims import from_claims, from_dn, from_user_name
from gridwarden.mapper.strict_json import parse, parse_object
from gridwarden.mapper.token_values import IdtokenIssuer, Issuer, TokenValues
from tests.tokens import CMS, HERE, OSG, POOL, SUB, Key, claims, encoded, key_set, scitoken

NOWHERE = Path("/nonexistent")
SITE = SimpleNamespace(
    tokens=TokenValues(
        issuers=(
            Issuer(CMS, "wlcg", ("ES256",), (HERE,), NOWHERE, vo="cms"),
            Issuer(OSG, "scitokens", ("ES256",), (HERE,), NOWHERE),
        ),
        idtokens=(IdtokenIssuer(POOL, NOWHERE, endless=True),),
    ),
    bans=(),
    ban_lists=(),
)


def refusal(payload: dict[str, object]) -> Refused:
    with pytest.raises(Refused) as caught:
        from_claims(payload, SITE)
    return caught.value


def test_claims_give_the_identity_that_their_token_would() -> None:
    person = from_claims(claims(), SITE)
    assert (person.scheme, person.subject, person.vo) == ("token", f"{CMS},{SUB}", "cms")
    assert (person.groups, person.credential) == (("/cms/production", "/cms"), "jti=b5c1f7")
    assert from_claims(scitoken(), SITE).subject == f"{OSG},anna"


def test_an_idtokens_claims_give_an_idtokens_identity() -> None:
    person = from_claims({"iss": POOL, "sub": "anna@pool.example.org", "iat": int(time.time())}, SITE)
    assert (person.scheme, person.subject, person.not_after) == ("idtoken", f"{POOL},anna@pool.example.org", 0)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://evil.example.org/"}, reasons.CREDENTIAL_UNTRUSTED),
        ({"iss": None}, reasons.CREDENTIAL_UNTRUSTED),
        ({"iss": [CMS]}, reasons.CREDENTIAL_UNTRUSTED),
        ({"aud": "https://other.example.org"}, reasons.CREDENTIAL_AUDIENCE),
        ({"aud": None}, reasons.CREDENTIAL_AUDIENCE),
        ({"exp": 5}, reasons.CREDENTIAL_EXPIRED),
        ({"exp": None}, reasons.CREDENTIAL_MALFORMED),
        ({"nbf": 4e9}, reasons.CREDENTIAL_EXPIRED),
        ({"sub": None}, reasons.CREDENTIAL_MALFORMED),
        ({"sub": "a\nb"}, reasons.CREDENTIAL_MALFORMED),
        ({"sub": " "}, reasons.CREDENTIAL_MALFORMED),
        ({"wlcg__groups": ["/cms/Role=production"]}, reasons.CREDENTIAL_MALFORMED),
    ],
)
def test_what_a_ce_let_through_is_judged_all_the_same(changed: dict[str, object], reason: str) -> None:
    assert refusal(claims(**changed)).reason == reason


TEXT = st.text("abz/,. 09\n\0\x7fÄ", max_size=20)  # all of Unicode would take a slow machine seconds to list
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "wlcg.groups", "wlcg.ver", "ver", "x"]
)


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_no_claims_do_more_than_refuse_their_own_holder(changed: dict[str, object]) -> None:
    try:
        person = from_claims({**claims(), **changed}, SITE)
    except Refused as refused:
        said: tuple[str, ...] = (str(refused),)
    else:
        said = (person.subject, person.credential, *person.groups, *person.scopes, *person.audiences)
    assert all(text.isascii() and text.isprintable() for text in said)


WORD = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
PART = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,9}", fullmatch=True)


@given(
    sub=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255).filter(str.strip),
    groups=st.lists(st.lists(PART, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)), max_size=5),
    scopes=st.lists(WORD, max_size=5),
    jti=WORD,
)
def test_everything_that_tokens_may_say_comes_through_unchanged(sub, groups, scopes, jti) -> None:
    payload = claims(sub=sub, wlcg__groups=groups, scope=" ".join(scopes), jti=jti)
    person = from_claims(parse_object(json.dumps(payload).encode(), 65536), SITE)
    assert person.subject == f"{CMS},{sub}"
    assert (person.groups, person.scopes, person.credential) == (tuple(groups), tuple(scopes), f"jti={jti}")


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '{"\\udfff": 1}', '["\\ud800x"]', "9" * 400, "-" + "9" * 20, "1e400", "[-1e999]"]
)
def test_what_would_stop_a_program_that_reads_it_is_no_json_here(text: str) -> None:
    with pytest.raises(ValueError, match=r"half a character|an integer of more|too large"):
        parse(text.encode(), 1000)


def test_whole_characters_and_numbers_of_use_are_still_read() -> None:
    assert parse(b'["\\ud83d\\ude00", 1795000000, 1.5, -3]', 1000) == ["\U0001f600", 1795000000, 1.5, -3]


@given(st.binary(max_size=200), st.binary(max_size=200), st.tuples(WORD, st.lists(WORD)))
def test_what_a_verifier_is_told_is_what_it_reads(token: bytes, keys: bytes, words) -> None:
    issuer, audiences = words
    trusted = token_request.Trusted(issuer, "wlcg", ("ES256",), tuple(audiences), keys)
    other = trusted._replace(issuer=f"{issuer}/2", keys=b"", endless=True)
    request = token_request.decode(token_request.encode(token, "sha256=0", 7, [trusted, other]))
    assert request == token_request.Request(token, "sha256=0", 7, {trusted.issuer: trusted, other.issuer: other})


@given(st.binary(max_size=100))
def test_base64url_has_one_spelling(data: bytes) -> None:
    assert jws.decode(encoded(data)) == data


@given(st.binary(max_size=30))
def test_what_is_read_as_base64url_is_written_so(part: bytes) -> None:
    try:
        data = jws.decode(part)
    except ValueError:
        return
    assert encoded(data) == part


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "PS512", "EdDSA"])
def test_a_key_serves_no_algorithm_but_its_own(algorithm: str) -> None:
    keys = key_set(Key.new(algorithm))
    families = {"R": ("RS256", "PS512"), "P": ("RS256", "PS512"), "E": (algorithm,)}[algorithm[0]]
    for other in ("ES256", "ES384", "ES512", "RS256", "PS512", "EdDSA"):
        assert bool(jws.keys_of(keys, other)) == (other in families), other


def test_a_dn_and_its_fqans_are_those_of_a_proxy() -> None:
    person = from_dn("/DC=org/DC=example/CN=Anna Example", ["/cms/Role=NULL/Capability=NULL", "/cms/Role=pilot"])
    assert (person.scheme, person.vo, person.fqans) == ("x509", "cms", ("/cms", "/cms/Role=pilot"))
    assert from_dn("/CN=a").fqans == ()


@pytest.mark.parametrize("dn", ["", "anna", "CN=anna", "/anna", "/CN=a\n", "/CN=ä", "/CN=" + "a" * 1100])
def test_what_is_no_dn_is_refused(dn: str) -> None:
    with pytest.raises(Refused):
        from_dn(dn)


def test_what_is_no_fqan_is_refused() -> None:
    with pytest.raises(Refused, match="FQAN"):
        from_dn("/CN=a", ["cms"])


def test_a_user_name_is_an_identity_of_this_machine() -> None:
    person = from_user_name("alice")
    assert (person.scheme, person.subject) == ("local", "alice")


@pytest.mark.parametrize("name", ["", "a b", "a\n", "-rf", ".", "a/b", "ä", "a" * 33, "a:b"])
def test_what_is_no_user_name_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        from_user_name(name)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}x", "not JSON"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"x": {"a": 1, "a": 2}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b'{"a": "\xff"}', "UTF-8"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b'{"a": ' + b"[" * 8 + b"]" * 8 + b"}", "8 deep"),
        (b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "8 deep"),
        (b"{" + b" " * 70_000 + b"}", "larger"),
        (b'{"a": 1,}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(text: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_object(text, 65536)
