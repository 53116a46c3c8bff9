"""Real tokens, honest and forged, against the real verifier process."""

from __future__ import annotations

import hmac
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import jwt
import pytest

from gridwarden import reasons, tab_file
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.mapper import token, verifying
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.jws import LONGEST_TOKEN, decode
from gridwarden.mapper.token import verify_token
from tests import tokens
from tests.confined import TokenVerifier
from tests.gridmap import make_site
from tests.tokens import CMS, HERE, OSG, POOL, SUB, Key, claims, encoded, idtoken, joined, key_set, scitoken, scrambled

pytestmark = pytest.mark.usefixtures("nothing_loaded_late")
POOL_KEY = os.urandom(64)
ES, RS, OTHER = Key.new("ES256", "k1"), Key.new("RS256", "k2"), Key.new("ES256", "k1")


class Cell:
    """A site that believes ES and RS of the CMS issuer, OTHER of another, and a pool."""

    def __init__(self, directory: Path, verifier: TokenVerifier, **options) -> None:
        self.directory = directory
        self.verifier = verifier
        self.site = make_site(directory / "site", tokens=tokens.values(directory, ES, RS, **options), verify_seconds=10)
        (directory / "osg.jwks").write_bytes(key_set(OTHER))
        self.pool_key = directory / "passwords.d" / "POOL"
        self.pool_key.write_bytes(scrambled(POOL_KEY))

    def verify(self, presented: bytes | Path) -> Identity:
        return verify_token(presented, self.site)

    def refusal(self, presented: bytes | Path, reason: str) -> str:
        """The refusal of a file by a verifier of its own, or of bytes by one for all of them."""
        with pytest.raises(Refused) as caught:
            if isinstance(presented, bytes):
                believed = token.believed_of(presented, self.site)
                asked = token.request(presented, self.site, believed)
                verifying.judge(self.verifier.answer(asked), "the token", "token")
            else:
                self.verify(presented)
        assert caught.value.reason == reason, caught.value
        assert str(caught.value).isascii() and str(caught.value).isprintable()
        return caught.value.detail

    def believe(self, *keys) -> None:
        (self.directory / "cms.jwks").write_bytes(key_set(*keys))

    def with_algorithms(self, *algorithms: str) -> Cell:
        cms, *others = self.site.tokens.issuers
        known = self.site.tokens._replace(issuers=(cms._replace(algorithms=algorithms), *others))
        self.site = self.site._replace(tokens=known)
        return self


@contextmanager
def directory_of_ours():
    """pytest's own lie below one that others could write to."""
    with TemporaryDirectory(prefix="gridwarden-test-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def verifier():
    with TokenVerifier() as verifier:
        yield verifier


@pytest.fixture
def cell(verifier):
    with directory_of_ours() as directory:
        yield Cell(directory, verifier)


# What is believed


def test_a_wlcg_token_gives_its_person_groups_and_scopes(cell):
    person = cell.verify(ES.sign(claims()))
    assert (person.scheme, person.subject, person.issuer) == ("token", f"{CMS},{SUB}", CMS)
    assert (person.groups, person.scopes) == (("/cms/production", "/cms"), ("compute.create", "compute.read"))
    assert (person.audiences, person.credential, person.vo) == ((HERE,), "jti=b5c1f7", "cms")
    assert 3500 < person.not_after - time.time() < 3700


def test_a_scitoken_gives_its_person_without_groups(cell):
    person = cell.verify(OTHER.sign(scitoken(aud=["ANY", "x"], scope="condor:/READ")))
    assert (person.subject, person.groups, person.vo) == (f"{OSG},anna", (), "")
    assert person.audiences == ("ANY", "x")


def test_a_token_in_a_file_is_read_with_the_newline_that_editors_leave(cell):
    path = cell.directory / "token"
    path.write_bytes(ES.sign(claims()) + b"\n")
    path.chmod(0o644)
    cell.refusal(path, reasons.CREDENTIAL_EXPOSED)
    path.chmod(0o600)
    assert cell.verify(path).issuer == CMS


def test_a_token_without_a_name_is_known_by_the_hash_of_what_is_signed(cell):
    token = ES.sign(claims(jti=None))
    person = cell.verify(token)
    kind, _, value = person.credential.partition("=")
    assert (kind, len(value)) == ("sha256", 64)
    assert not any(part.decode() in str(person) for part in token.split(b"."))


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"])  # fmt: skip
def test_every_algorithm_that_a_site_may_name_works_and_only_with_its_own_signatures(cell, algorithm):
    key = Key.new(algorithm)
    cell.with_algorithms(algorithm).believe(key)
    token = key.sign(claims())
    assert cell.verify(token).issuer == CMS
    # An independent library agrees about the very same bytes.
    assert jwt.decode(token, key.private.public_key(), [algorithm], audience=HERE, issuer=CMS)["sub"] == SUB
    head, _, signature = token.rpartition(b".")
    broken = encoded(bytes(len(decode(signature))))
    assert "signature" in cell.refusal(head + b"." + broken, reasons.CREDENTIAL_UNTRUSTED)


def test_a_token_that_another_library_made_is_understood(cell):
    token = jwt.encode(claims(), ES.private, "ES256", headers={"kid": "k1"})
    assert cell.verify(token.encode()).subject == f"{CMS},{SUB}"


def test_a_clock_a_little_off_refuses_nobody(cell):
    now = int(time.time())
    assert cell.verify(ES.sign(claims(exp=now - 30, nbf=now + 30, iat=now + 30))).issuer == CMS


def test_the_site_says_who_is_of_a_vo_and_not_the_token(cell):
    assert cell.verify(ES.sign(claims(wlcg__groups=["/atlas"], vo="atlas"))).vo == "cms"


# Whom it is not from


def test_an_issuer_that_the_site_does_not_name_is_nobody(cell):
    told = cell.refusal(ES.sign(claims(iss="https://evil.example.org/")), reasons.CREDENTIAL_UNTRUSTED)
    assert "https://evil.example.org/" in told


@pytest.mark.parametrize("issuer", [CMS.rstrip("/"), CMS.upper(), CMS + "x", [CMS], None, "", 7])
def test_an_issuer_is_its_exact_name_or_nobody(cell, issuer):
    cell.refusal(ES.sign(claims(iss=issuer)), reasons.CREDENTIAL_UNTRUSTED)


def test_one_issuer_cannot_sign_for_another(cell):
    cell.refusal(OTHER.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)
    cell.refusal(ES.sign(scitoken()), reasons.CREDENTIAL_UNTRUSTED)


def test_a_token_changed_on_its_way_is_refused(cell):
    header, payload, signature = ES.sign(claims()).split(b".")
    other = encoded(json.dumps(claims(sub="root")).encode())
    cell.refusal(b".".join([header, other, signature]), reasons.CREDENTIAL_UNTRUSTED)
    assert header and payload


@pytest.mark.parametrize(
    "signature", [b"", encoded(b"\0" * 64), encoded(b"\xff" * 64), encoded(b"\0" * 63), encoded(b"x" * 72)]
)
def test_a_signature_of_nothing_signs_nothing(cell, signature):
    head = ES.sign(claims()).rpartition(b".")[0]
    cell.refusal(head + b"." + signature, reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 0, ["ES256"]])
def test_an_unsigned_token_is_refused_however_it_says_so(cell, algorithm):
    header = {"alg": algorithm, "kid": "k1"}
    for signature in (b"", b"x"):
        cell.refusal(joined(header, claims(), lambda _, s=signature: s), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("key", [ES, RS])
def test_a_public_key_is_no_shared_secret(cell, algorithm, key):
    """The key confusion of CVE-2015-9235 and its like."""
    for secret in (key.pem(), key.pem().strip(), json.dumps(key.jwk()).encode(), key_set(ES, RS)):
        digest = f"sha{algorithm[2:]}"
        token = joined(
            {"alg": algorithm, "kid": key.kid}, claims(), lambda signed, s=secret, d=digest: hmac.digest(s, signed, d)
        )
        cell.refusal(token, reasons.CREDENTIAL_UNTRUSTED)


def test_a_shared_secret_among_an_issuers_keys_signs_nothing(cell):
    secret = {"kty": "oct", "k": encoded(b"secret").decode(), "kid": "k1", "alg": "HS256"}
    cell.believe(secret, ES)
    token = joined({"alg": "HS256", "kid": "k1"}, claims(), lambda signed: hmac.digest(b"secret", signed, "sha256"))
    cell.refusal(token, reasons.CREDENTIAL_UNTRUSTED)
    assert cell.verify(ES.sign(claims())).issuer == CMS


def test_an_algorithm_that_the_site_does_not_name_is_refused_even_with_the_right_key(cell):
    told = cell.refusal(RS.sign(claims(), alg="RS512"), reasons.CREDENTIAL_UNTRUSTED)
    assert "RS512" in told and "ES256, RS256" in told
    cell.refusal(
        joined({"alg": "PS256", "kid": "k2"}, claims(), lambda s: RS.signature(s, "PS256")),
        reasons.CREDENTIAL_UNTRUSTED,
    )


def test_a_key_is_used_for_its_own_algorithm_only(cell):
    cell.refusal(joined({"alg": "RS256", "kid": "k1"}, claims(), ES.signature), reasons.CREDENTIAL_UNTRUSTED)
    cell.believe(RS.jwk(alg="PS256"))
    cell.refusal(RS.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize("brought", ["jwk", "jku", "x5u", "x5c"])
def test_keys_that_a_token_brings_along_are_not_looked_at(cell, brought):
    thief = Key.new("ES256", "k1")
    header = {
        "jwk": thief.jwk(),
        "jku": "https://evil.example.org/keys",
        "x5u": "https://evil.example.org/c",
        "x5c": ["MA=="],
    }
    cell.refusal(thief.sign(claims(), **{brought: header[brought]}), reasons.CREDENTIAL_UNTRUSTED)
    assert cell.verify(ES.sign(claims(), **{brought: header[brought]})).issuer == CMS


@pytest.mark.parametrize("kid", ["k9", "", "../../etc/passwd", "k1\0", 1, ["k1"], {"a": 1}])
def test_a_token_that_names_a_key_its_issuer_has_not_is_refused(cell, kid):
    cell.refusal(ES.sign(claims(), kid=kid), reasons.CREDENTIAL_UNTRUSTED)


def test_a_token_that_names_no_key_is_taken_where_there_is_but_one(cell):
    token = ES.sign(claims(), kid=None)
    assert cell.verify(token).issuer == CMS
    cell.believe(ES, Key.new("ES256", "k3"))
    assert "2 keys" in cell.refusal(token, reasons.CREDENTIAL_UNTRUSTED)


def test_two_keys_of_one_name_are_one_too_many(cell):
    cell.believe(ES, OTHER)
    cell.refusal(ES.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize("change", [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"alg": "ES384"}])
def test_a_key_meant_for_something_else_signs_no_tokens(cell, change):
    cell.believe(ES.jwk(**change))
    cell.refusal(ES.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


def test_keys_too_weak_to_be_believed_are_not(cell):
    weak = Key.new("RS256", "k2", bits=1024)
    cell.believe(weak)
    assert "1024 bits" in cell.refusal(weak.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize(
    "change",
    [
        {"x": encoded(b"\1" * 32).decode()},  # not on the curve
        {"x": encoded(b"\1" * 33).decode()},
        {"x": ""},
        {"x": "*"},
        {"y": encoded(bytes(32)).decode()},
    ],
)
def test_a_key_that_is_none_believes_nothing(cell, change):
    cell.believe(ES.jwk(**change))
    assert "keys of its issuer" in cell.refusal(ES.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize("bad", [{"x": encoded(b"\xff" * 40).decode()}, {"x": "*"}])
def test_a_bad_key_stops_no_token_of_the_good_one_beside_it(cell, bad):
    cell.believe(ES.jwk(kid="bad", **bad), ES)
    assert cell.verify(ES.sign(claims())).issuer == CMS
    cell.believe(ES.jwk(kid="bad", **bad))
    assert "key 1, kid bad: " in cell.refusal(ES.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


# When and for whom it is


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"exp": int(time.time()) - 3600}, "ended"),
        ({"exp": 1}, "ended"),
        ({"nbf": int(time.time()) + 3600}, "nbf"),
        ({"iat": int(time.time()) + 3600}, "iat"),
    ],
)
def test_a_token_out_of_its_time_is_refused(cell, changed, word):
    assert word in cell.refusal(ES.sign(claims(**changed)), reasons.CREDENTIAL_EXPIRED)


@pytest.mark.parametrize("audience", ["https://other.example.org", ["a", "b"], [], "", None, HERE + "/", HERE.upper()])
def test_a_token_for_somebody_else_is_refused(cell, audience):
    reason = reasons.CREDENTIAL_AUDIENCE
    cell.refusal(ES.sign(claims(aud=audience)), reason)


@pytest.mark.parametrize("missing", ["exp", "sub"])
def test_a_token_that_leaves_out_what_it_must_say_is_refused(cell, missing):
    assert missing in cell.refusal(ES.sign(claims(**{missing: None})), reasons.CREDENTIAL_MALFORMED)


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": -5},
        {"exp": 10**15},
        {"exp": [1]},
        {"nbf": "x"},
        {"sub": 7},
        {"sub": ""},
        {"sub": "a" * 256},
        {"sub": "Ännä"},
        {"sub": "anna\n"},
        {"sub": ["anna"]},
        {"aud": {"a": HERE}},
        {"aud": [HERE, 7]},
        {"scope": ["compute.create"]},
        {"scope": "a\u00e4"},
        {"jti": 7},
        {"jti": ""},
        {"wlcg__groups": "cms"},
        {"wlcg__groups": ["cms"]},
        {"wlcg__groups": ["/cms", 1]},
        {"wlcg__groups": ["/cms/../atlas"]},
        {"wlcg__groups": ["/cms"] * 300},
        {"wlcg__ver": None},
        {"wlcg__ver": 1},
        {"wlcg__ver": "2.0"},
    ],
)
def test_claims_of_the_wrong_kind_are_refused(cell, changed):
    cell.refusal(ES.sign(claims(**changed)), reasons.CREDENTIAL_MALFORMED)


def test_a_token_of_another_profile_is_not_read_as_one_of_its_issuers(cell):
    cell.refusal(OTHER.sign(scitoken(wlcg__ver="1.0")), reasons.CREDENTIAL_MALFORMED)
    cell.refusal(OTHER.sign(scitoken(ver="other:1")), reasons.CREDENTIAL_MALFORMED)


# Bytes that are no token


def test_a_token_that_says_a_thing_twice_is_refused(cell):
    text = json.dumps(claims()).removesuffix("}") + f', "sub": "root", "iss": "{CMS}"}}'
    assert "twice" in cell.refusal(ES.sign(text.encode()), reasons.CREDENTIAL_MALFORMED)
    header = b'{"alg": "ES256", "kid": "k9", "kid": "k1"}'
    assert "twice" in cell.refusal(joined(header, claims(), ES.signature), reasons.CREDENTIAL_MALFORMED)


@pytest.mark.parametrize("depth", [9, 500, 5000])
def test_a_deeply_nested_token_is_refused(cell, depth):
    text = json.dumps(claims()).removesuffix("}") + ', "x": ' + "[" * depth + "]" * depth + "}"
    assert "deep" in cell.refusal(ES.sign(text.encode()), reasons.CREDENTIAL_MALFORMED)


def test_an_oversized_token_is_refused(cell):
    token = ES.sign(claims(x="x" * LONGEST_TOKEN))
    assert "larger" in cell.refusal(token, reasons.CREDENTIAL_MALFORMED)
    path = cell.directory / "token"
    path.write_bytes(token * 40)
    path.chmod(0o600)
    assert "larger" in cell.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_a_token_cut_short_anywhere_is_refused(cell):
    token = ES.sign(claims())
    for length in (0, 1, len(token) // 3, token.rindex(b"."), len(token) - 1):
        with pytest.raises(Refused):
            cell.verify(token[:length])


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"crit": ["b64"], "b64": False}])  # fmt: skip
def test_headers_that_change_what_a_token_means_are_refused(cell, header):
    cell.refusal(ES.sign(claims(), **header), reasons.CREDENTIAL_MALFORMED)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token + b"=",
        lambda token: token + b".",
        lambda token: b"." + token,
        lambda token: token.replace(b".", b"..", 1),
        lambda token: token.replace(b".", b" .", 1),
        lambda token: token.replace(b".", b"\n.", 1),
        lambda token: token[:40] + b"\0" + token[40:],
        lambda token: token[:40] + b"+/" + token[40:],
        lambda token: token + b" " + token,
        lambda token: b"\xff\xfe" + token,
        lambda _: b"{}",
        lambda _: b"..",
        lambda _: encoded(b"[]") + b"." + encoded(b"{}") + b".x",
        lambda _: encoded(b"{") + b"." + encoded(b"{}") + b".xxxx",
        lambda _: encoded('{"alg":"ES256"}'.encode("utf-16")) + b"." + encoded(b"{}") + b".xxxx",
        lambda _: encoded(b'{"alg":NaN}') + b"." + encoded(b"{}") + b".xxxx",
        lambda _: encoded(b'{"a":' + b"9" * 5000 + b"}") + b"." + encoded(b"{}") + b".xxxx",
    ],
)
def test_what_is_not_written_as_a_token_is_refused(cell, spoil):
    cell.refusal(spoil(ES.sign(claims())), reasons.CREDENTIAL_MALFORMED)


def test_a_signature_has_one_spelling(cell):
    """Otherwise a token that was banned by its hash, or logged, could come again in other bytes."""
    token = ES.sign(claims())
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[(alphabet.index(token[-1]) ^ 1)]
    cell.refusal(token[:-1] + bytes([other]), reasons.CREDENTIAL_MALFORMED)
    head, _, signature = token.rpartition(b".")
    r, s = decode(signature)[:32], decode(signature)[32:]
    assert cell.verify(head + b"." + encoded(r + s)).issuer == CMS
    cell.refusal(head + b"." + encoded(r + b"\0" + s), reasons.CREDENTIAL_UNTRUSTED)


# The site's own files


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"keys": {}}', b'{"keys": [1]}', b"not json", b'{"keys": [], "keys": []}']
)
def test_keys_that_cannot_be_read_let_nobody_in(cell, text):
    (cell.directory / "cms.jwks").write_bytes(text)
    cell.refusal(ES.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


def test_keys_that_others_could_write_let_nobody_in(cell):
    (cell.directory / "cms.jwks").chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"cms\.jwks: can be written by others"):
        cell.verify(ES.sign(claims()))


def test_keys_never_fetched_refuse_their_own_issuers_people_only(cell):
    (cell.directory / "osg.jwks").unlink()
    assert "gridwarden token refresh" in cell.refusal(OTHER.sign(scitoken()), reasons.CREDENTIAL_UNTRUSTED)
    assert cell.verify(ES.sign(claims())).issuer == CMS


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.chmod(0o666), lambda path: path.write_bytes(b"{")])
def test_keys_of_one_issuer_that_cannot_be_used_stop_nobody_elses_tokens(cell, spoil):
    spoil(cell.directory / "cms.jwks")
    assert cell.verify(OTHER.sign(scitoken())).issuer == OSG
    assert cell.verify(idtoken(POOL_KEY)).issuer == POOL
    with pytest.raises((ConfigurationError, Refused), match=r"cms\.jwks|keys of its issuer"):
        cell.verify(ES.sign(claims()))


def test_a_pools_keys_that_cannot_be_used_stop_nobody_elses_tokens(cell):
    cell.pool_key.unlink()
    cell.pool_key.parent.rmdir()
    assert cell.verify(ES.sign(claims())).issuer == CMS
    with pytest.raises(ConfigurationError, match=r"passwords\.d"):
        cell.verify(idtoken(POOL_KEY))


def test_the_process_that_verifies_refuses_as_it_says(cell):
    path = cell.directory / "token"
    path.touch(mode=0o600)
    for presented, reason in (
        (ES.sign(claims(exp=5)), reasons.CREDENTIAL_EXPIRED),
        (ES.sign(claims(aud="x")), reasons.CREDENTIAL_AUDIENCE),
        (OTHER.sign(claims()), reasons.CREDENTIAL_UNTRUSTED),
        (joined({"alg": "none"}, claims(), lambda _: b""), reasons.CREDENTIAL_UNTRUSTED),
        (idtoken(os.urandom(64)), reasons.CREDENTIAL_UNTRUSTED),
        (ES.sign(claims(), crit=[]), reasons.CREDENTIAL_MALFORMED),
        (ES.sign(b"[" * 5000), reasons.CREDENTIAL_MALFORMED),
        (ES.sign(claims(sub="a" * 256)), reasons.CREDENTIAL_MALFORMED),
    ):
        path.write_bytes(presented)
        assert cell.refusal(path, reason).startswith(f"{path}: ")


def test_a_site_that_names_no_issuer_believes_no_token(cell):
    cell.site = cell.site._replace(tokens=tokens.TokenValues())
    cell.refusal(ES.sign(claims()), reasons.CREDENTIAL_UNTRUSTED)


def test_a_verifier_that_cannot_start_is_no_verdict_on_the_token(cell, monkeypatch):
    monkeypatch.setattr(verifying, "_CODE", "/nonexistent")
    with pytest.raises(Unavailable, match="did not start"):
        cell.verify(ES.sign(claims()))


# HTCondor's own tokens


def test_an_idtoken_gives_its_person(cell):
    person = cell.verify(idtoken(POOL_KEY, scope="condor:/READ condor:/WRITE"))
    assert (person.scheme, person.subject, person.issuer) == ("idtoken", f"{POOL},anna@pool.example.org", POOL)
    assert (person.scopes, person.credential) == (("condor:/READ", "condor:/WRITE"), "jti=0a")


def test_an_idtoken_of_another_key_of_the_pool_counts_for_that_key(cell):
    (cell.directory / "passwords.d" / "cms").write_bytes(scrambled(b"other"))
    assert cell.verify(idtoken(b"other", "cms")).scheme == "idtoken"
    cell.refusal(idtoken(b"other", "cms", {"kid": "POOL"}), reasons.CREDENTIAL_UNTRUSTED)
    cell.refusal(idtoken(POOL_KEY, header={"kid": "cms"}), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize(
    "token",
    [
        lambda: idtoken(os.urandom(64)),
        lambda: idtoken(POOL_KEY * 2),
        lambda: idtoken(POOL_KEY, header={"alg": "none"}),
        lambda: idtoken(POOL_KEY, header={"alg": "HS512"}),
        lambda: idtoken(POOL_KEY, header={"kid": 7}),
        lambda: idtoken(POOL_KEY, iss="other.example.org"),
        lambda: idtoken(POOL_KEY, iss=CMS, aud=HERE, wlcg__ver="1.0"),
        lambda: idtoken(b""),
        lambda: ES.sign({"iss": POOL, "sub": "x", "exp": int(time.time()) + 60}),
    ],
)
def test_an_idtoken_that_the_pool_did_not_sign_is_refused(cell, token):
    cell.refusal(token(), reasons.CREDENTIAL_UNTRUSTED)


def test_an_empty_pool_key_signs_nothing(cell):
    cell.pool_key.write_bytes(b"")
    cell.refusal(idtoken(b""), reasons.CREDENTIAL_UNTRUSTED)


@pytest.mark.parametrize(("key", "accepted"), [(POOL_KEY, True), (os.urandom(64), False)])
def test_a_verifier_that_is_taken_over_cannot_make_up_an_idtoken(cell, key, accepted):
    """Of a token that no key of the pool signed, root believes no answer, whatever the process says."""
    asked = token.start(idtoken(key), cell.site)
    verifying.answer(asked.verifier, "the token")
    reading, writing = os.pipe()
    fields = {"issuer": POOL, "sub": "condor@pool.example.org", "credential": "jti=1", "not_after": "0"}
    os.write(writing, verifying.READY + tab_file.encode(list(fields.items())))
    os.close(writing)
    lying = asked._replace(
        verifier=asked.verifier._replace(reading=reading, pid=os.posix_spawn("/bin/true", ["true"], {}))
    )
    if accepted:
        assert token.identity_of(lying, cell.site, "the token").issuer == POOL
    else:
        with pytest.raises(Refused, match="cannot have signed"):
            token.identity_of(lying, cell.site, "the token")


def test_an_idtoken_without_an_end_is_the_sites_choice(cell):
    cell.refusal(idtoken(POOL_KEY, exp=None), reasons.CREDENTIAL_MALFORMED)
    (pool,) = cell.site.tokens.idtokens
    cell.site = cell.site._replace(tokens=cell.site.tokens._replace(idtokens=(pool._replace(endless=True),)))
    assert cell.verify(idtoken(POOL_KEY, exp=None)).not_after == 0
    cell.refusal(idtoken(POOL_KEY, exp=5), reasons.CREDENTIAL_EXPIRED)


def test_pool_keys_that_others_could_write_let_nobody_in(cell):
    cell.pool_key.chmod(0o622)
    with pytest.raises(ConfigurationError, match="POOL: can be written by others"):
        cell.verify(idtoken(POOL_KEY))
