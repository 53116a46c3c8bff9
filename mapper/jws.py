"""Signed tokens in JWS compact form (RFC 7515), and the public keys in a JWK set (RFC 7517, 7518, 8037).

Which algorithms count is the caller's decision, never the token's: its header only chooses among them and among the
keys of its issuer.  Keys and addresses of keys that a token brings along (``jwk``, ``jku``, ``x5u``, ``x5c``) are not
looked at.  Symmetric algorithms have no place here, so a public key can never be used as a shared secret.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import signatures
from gridwarden.mapper.strict_json import parse_object
from gridwarden.tab_file import escape
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from typing import Any


LONGEST_TOKEN = 16 * 1024
LONGEST_KEY_SET = 256 * 1024
MOST_KEYS = 64
SMALLEST_RSA = 2048  # RFC 7518, section 3.3
LARGEST_RSA = 8192
LONGEST_EXPONENT = 64
_URL_SAFE, _PLAIN = b"-_", b"+/"
_TO_PLAIN, _TO_URL_SAFE = bytes.maketrans(_URL_SAFE, _PLAIN), bytes.maketrans(_PLAIN, _URL_SAFE)


class Jws(NamedTuple):
    """A token taken apart, of which nothing is verified: ``signed`` is what the signature is over."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signed: bytes
    signature: bytes


def parse(token: bytes) -> Jws:
    """The parts of a token; raises Refused (credential-malformed)."""
    try:
        if len(token) > LONGEST_TOKEN:
            raise ValueError(f"it is larger than {LONGEST_TOKEN} bytes")
        parts = token.split(b".")
        if len(parts) != 3:
            raise ValueError(f"it has {len(parts)} parts and not 3")
        header, payload, signature = map(decode, parts)
        jws = Jws(
            parse_object(header, LONGEST_TOKEN),
            parse_object(payload, LONGEST_TOKEN),
            token.rpartition(b".")[0],
            signature,
        )
        if unknown := {"crit", "b64"} & set(jws.header):  # RFC 7515, section 4.1.11; RFC 7797
            raise ValueError(f"its header says {', '.join(sorted(unknown))}, which would change what it means")
    except ValueError as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"the token is not one: {error}") from error
    return jws


def decode(part: bytes) -> bytes:
    """The bytes of unpadded base64url in its one canonical spelling; raises ValueError."""
    try:
        data = a2b_base64(part.translate(_TO_PLAIN) + b"=" * (-len(part) % 4))
    except Error:
        data = b""
    if b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL_SAFE) != part:
        raise ValueError("a part of it is not base64url")
    return data


def verify(jws: Jws, key_set: bytes, algorithms: tuple[str, ...]) -> None:
    """Check the signature with the issuer's ``key_set``; raises Refused (credential-untrusted)."""
    algorithm = jws.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _untrusted(f"its algorithm is {_shown(algorithm)}, and of this issuer {', '.join(algorithms)} count")
    kid = jws.header.get("kid")
    try:
        keys = keys_of(key_set, algorithm)
        chosen = [key for name, key in keys if name == kid] if kid is not None else [key for _, key in keys]
        signed = len(chosen) == 1 and signatures.is_signature(chosen[0], algorithm, jws.signed, jws.signature)
    except ValueError as error:
        raise _untrusted(f"the keys of its issuer cannot be used: {error}") from error
    if len(chosen) != 1:
        named = f"named {_shown(kid)}" if kid is not None else "(the token names none)"
        raise _untrusted(f"the issuer has {len(chosen)} keys {named} for {algorithm}, and one was needed")
    if not signed:
        raise _untrusted("its signature is not that of its issuer")


def keys_of(key_set: bytes, algorithm: str) -> list[tuple[str | None, bytes]]:
    """The keys of a JWK set that may sign with ``algorithm``, each its ``kid`` and itself in DER; raises ValueError.

    Keys of other kinds, those meant for something else and those that are none are passed over: one bad key of a
    set stops no other.
    """
    return [(kid, key) for _, kid, key in numbered_keys(key_set, algorithm)]


def numbered_keys(key_set: bytes, algorithm: str) -> list[tuple[int, str | None, bytes]]:
    """``keys_of``, each with its place in the set, from 0; raises ValueError that names bad ones where none is good."""
    found, faults = read_keys(key_set, algorithm)
    if faults and not found:
        raise ValueError("; ".join(faults[:5]))
    return found


def read_keys(key_set: bytes, algorithm: str) -> tuple[list[tuple[int, str | None, bytes]], list[str]]:
    """The keys as ``numbered_keys``, and a sentence for each that is none; raises ValueError for what is no JWK set."""
    keys = parse_object(key_set, LONGEST_KEY_SET).get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError("they are not a JWK set")
    if len(keys) > MOST_KEYS:
        raise ValueError(f"they are more than {MOST_KEYS}")
    found: list[tuple[int, str | None, bytes]] = []
    faults: list[str] = []
    for number, key in enumerate(keys):
        kid = key.get("kid")
        try:
            public = _public_key(key, algorithm) if _may_verify(key, algorithm) else None
        except (ValueError, OverflowError) as error:  # a coordinate larger than its curve
            faults.append(f"key {number + 1}, kid {_shown(kid)}: {error}")
        else:
            found += [(number, kid if isinstance(kid, str) else None, public)] if public else []
    return found, faults


def _may_verify(key: dict[str, Any], algorithm: str) -> bool:
    operations = key.get("key_ops", ["verify"])
    meant = isinstance(operations, list) and "verify" in operations
    return meant and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm


def _public_key(key: dict[str, Any], algorithm: str) -> bytes | None:
    match key, algorithm[:2]:
        case {"kty": "EC", "crv": str(name), "x": str(x), "y": str(y)}, "ES" if name == signatures.CURVES[algorithm][0]:
            return signatures.elliptic_key(algorithm, _number(x), _number(y))
        case {"kty": "RSA", "n": str(n), "e": str(e)}, "RS" | "PS":
            modulus, exponent = _number(n), _number(e)
            if not SMALLEST_RSA <= modulus.bit_length() <= LARGEST_RSA:
                raise ValueError(f"one is an RSA key of {modulus.bit_length()} bits")
            if exponent.bit_length() > LONGEST_EXPONENT:
                raise ValueError("one is an RSA key that would take for ever")
            return signatures.rsa_key(modulus, exponent)
        case {"kty": "OKP", "crv": "Ed25519", "x": str(x)}, "Ed":
            return signatures.edwards_key(_bytes(x))
    return None


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    return decode(text.rstrip("=").encode())  # scitokens' own tools leave the padding on


def _untrusted(what: str) -> Refused:
    return Refused(reasons.CREDENTIAL_UNTRUSTED, f"the token is not trusted: {what}")


def _shown(value: object) -> str:
    return (
        escape(value[:100]) if isinstance(value, str) else f"a {type(value).__name__}" if value is not None else "none"
    )
