"""Signatures of tokens (RFC 7518, section 3; RFC 8037), checked by libcrypto.

Only the verifier's child process loads this.  A key is its SubjectPublicKeyInfo (RFC 5280), written from the numbers of a
JWK; libcrypto refuses points that are not on their curve.
"""

from __future__ import annotations

import ctypes

from gridwarden.mapper import der, libcrypto

RSA = "1.2.840.113549.1.1.1"
ELLIPTIC = "1.2.840.10045.2.1"
ED25519 = "1.3.101.112"
NULL = b"\x05\x00"
CURVES = {  # of each algorithm: the curve's name in a JWK, its identifier, the bytes of a coordinate
    "ES256": ("P-256", "1.2.840.10045.3.1.7", 32),
    "ES384": ("P-384", "1.3.132.0.34", 48),
    "ES512": ("P-521", "1.3.132.0.35", 66),
}


def rsa_key(modulus: int, exponent: int) -> bytes:
    """An RSA key."""
    numbers = der.write(der.SEQUENCE, der.write_integer(modulus), der.write_integer(exponent))
    return _key(der.write_object(RSA) + NULL, numbers)


def elliptic_key(algorithm: str, x: int, y: int) -> bytes:
    """A key on the curve of an ES algorithm; raises OverflowError for what no coordinate can be."""
    _, curve, size = CURVES[algorithm]
    return _key(der.write_object(ELLIPTIC) + der.write_object(curve), b"\x04" + x.to_bytes(size) + y.to_bytes(size))


def edwards_key(point: bytes) -> bytes:
    """An Ed25519 key."""
    return _key(der.write_object(ED25519), point)


def is_key(key: bytes) -> bool:
    """Whether libcrypto takes it for a key."""
    return libcrypto.decoded(libcrypto.d2i_public_key, key) != 0


def is_signature(key: bytes, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether ``key`` made ``signature`` over ``signed`` by a JWA ``algorithm``; raises ValueError for what is no key."""
    public = libcrypto.decoded(libcrypto.d2i_public_key, key)
    if not public:
        raise ValueError("one is not a key")
    if algorithm.startswith("ES"):
        half = CURVES[algorithm][2]
        if len(signature) != 2 * half:
            return False
        numbers = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        signature = der.write(der.SEQUENCE, *map(der.write_integer, numbers))
    digest = 0 if algorithm == "EdDSA" else libcrypto.digest_by_name(b"SHA" + algorithm[2:].encode())
    context, parameters = libcrypto.digest_context_new(), ctypes.c_void_p()
    begun = libcrypto.digest_verify_initialise(context, ctypes.byref(parameters), digest, None, public) == 1
    if begun and algorithm.startswith("PS"):
        begun = all(
            libcrypto.key_option(parameters, name, value) == 1
            for name, value in ((b"rsa_padding_mode", b"pss"), (b"rsa_pss_saltlen", b"digest"))
        )
    return begun and libcrypto.digest_verify(context, signature, len(signature), signed, len(signed)) == 1


def _key(algorithm: bytes, public: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.write(der.SEQUENCE, algorithm), der.write(der.BIT_STRING, b"\0", public))
