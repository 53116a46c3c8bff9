"""Tokens, honest and forged, made from their bytes up."""

from __future__ import annotations

import hmac
import json
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gridwarden.mapper.token_values import IdtokenIssuer, Issuer, TokenValues

CMS = "https://cms-auth.example.org/"
OSG = "https://scitokens.example.org/osg"
POOL = "pool.example.org"
HERE = "https://ce.example.org:9619"
SUB = "8f14e45f-ceea-467f-9575-b0fe2d9e2b4a"


HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}


def encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8)).decode()


class Key(NamedTuple):
    """A private key, the algorithm that it signs with, and its name."""

    private: Any
    algorithm: str
    kid: str

    @classmethod
    def new(cls, algorithm: str = "ES256", kid: str = "k1", bits: int = 2048) -> Key:
        if algorithm == "EdDSA":
            return cls(ed25519.Ed25519PrivateKey.generate(), algorithm, kid)
        if algorithm.startswith("ES"):
            return cls(ec.generate_private_key(CURVES[algorithm][1]), algorithm, kid)
        return cls(rsa.generate_private_key(65537, bits), algorithm, kid)

    def jwk(self, **more: object) -> dict[str, object]:
        public = self.private.public_key()
        named: dict[str, object] = {"kid": self.kid, "use": "sig", **more}
        if isinstance(public, ed25519.Ed25519PublicKey):
            return {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw()).decode(), **named}
        numbers = public.public_numbers()
        if isinstance(numbers, rsa.RSAPublicNumbers):
            return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **named}
        half = (public.curve.key_size + 7) // 8
        x, y = (encoded(value.to_bytes(half)).decode() for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": CURVES[self.algorithm][0], "x": x, "y": y, **named}

    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def signature(self, data: bytes, algorithm: str = "") -> bytes:
        algorithm = algorithm or self.algorithm
        if algorithm == "EdDSA":
            return self.private.sign(data)
        digest: hashes.HashAlgorithm = HASHES[algorithm[2:]]
        if algorithm.startswith("ES"):
            half = (self.private.curve.key_size + 7) // 8
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
            return r.to_bytes(half) + s.to_bytes(half)
        if algorithm.startswith("PS"):
            return self.private.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return self.private.sign(data, padding.PKCS1v15(), digest)

    def sign(self, payload: dict[str, Any] | bytes, **header: object) -> bytes:
        """A token; `header` adds to its header, or replaces what is in it, None takes away."""
        whole = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **header}
        return joined({name: value for name, value in whole.items() if value is not None}, payload, self.signature)


def joined(header: dict[str, Any] | bytes, payload: dict[str, Any] | bytes, sign) -> bytes:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = b".".join(map(encoded, parts))
    return signed + b"." + encoded(sign(signed))


def server_certificate(certificate: Path, key: Path, *names: str) -> None:
    """Make a server's key, and a certificate of its own that names its hosts."""
    alternative = ",".join(f"DNS:{name}" for name in names)
    made = ["-keyout", key, "-out", certificate, "-subj", "/CN=server", "-addext", f"subjectAltName={alternative}"]
    elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command = ["openssl", "req", "-x509", *elliptic, "-nodes", "-days", "2", *made]
    subprocess.run(command, check=True, capture_output=True)


def key_set(*keys: Key | dict[str, object]) -> bytes:
    return json.dumps({"keys": [key.jwk() if isinstance(key, Key) else key for key in keys]}).encode()


def claims(**changed: object) -> dict[str, Any]:
    """An honest WLCG token's; `changed` with None takes a claim away; dots in names are written __."""
    now = int(time.time())
    whole = {
        "wlcg.ver": "1.0",
        "iss": CMS,
        "sub": SUB,
        "aud": HERE,
        "exp": now + 3600,
        "nbf": now - 1,
        "iat": now - 1,
        "jti": "b5c1f7",
        "scope": "compute.create compute.read",
        "wlcg.groups": ["/cms/production", "/cms"],
        **{name.replace("__", "."): value for name, value in changed.items()},
    }
    return {name: value for name, value in whole.items() if value is not None}


def scitoken(**changed: object) -> dict[str, Any]:
    honest: dict[str, object] = {
        "wlcg__ver": None,
        "wlcg__groups": None,
        "ver": "scitoken:2.0",
        "iss": OSG,
        "sub": "anna",
    }
    return claims(**(honest | changed))


def scrambled(key: bytes) -> bytes:
    return bytes(byte ^ b"\xde\xad\xbe\xef"[place % 4] for place, byte in enumerate(key))


def idtoken(key: bytes, kid: str = "POOL", header: dict[str, Any] | None = None, **changed: object) -> bytes:
    """What condor_token_create makes of a key (unscrambled)."""
    honest = {
        "iss": POOL,
        "sub": "anna@pool.example.org",
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
        "jti": "0a",
    }
    payload = {name: value for name, value in (honest | changed).items() if value is not None}
    material = key * 2 if kid == "POOL" else key
    secret = hmac.digest(hmac.digest(b"htcondor", material, "sha256"), b"master jwt\x01", "sha256")
    return joined(
        {"alg": "HS256", "kid": kid, "typ": "JWT"} | (header or {}),
        payload,
        lambda signed: hmac.digest(secret, signed, "sha256"),
    )


def values(
    directory: Path, *keys: Key | dict[str, object], algorithms: tuple[str, ...] = ("ES256", "RS256")
) -> TokenValues:
    """A site that believes the CMS issuer with `keys`, another issuer with a key of its own, and one HTCondor pool."""
    pool = directory / "passwords.d"
    pool.mkdir(mode=0o700)
    (directory / "cms.jwks").write_bytes(key_set(*keys))
    return TokenValues(
        issuers=(
            Issuer(CMS, "wlcg", algorithms, (HERE,), directory / "cms.jwks", vo="cms"),
            Issuer(OSG, "scitokens", ("ES256",), (HERE, "ANY"), directory / "osg.jwks", fetched=True),
        ),
        idtokens=(IdtokenIssuer(POOL, pool),),
    )
