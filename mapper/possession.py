"""Whether who presents a certificate has its private key: chains alone are sent in the clear.

libcrypto's own comparison (X509_check_private_key) looks at the public half of the key that is presented, which anybody
can copy out of the certificate.  So an RSA key proves itself by the factors of the modulus (RFC 8017 appendix A.1.2),
which only its holder knows and which cost less than a signature, and any other by a signature.
"""

from __future__ import annotations

import ctypes

from gridwarden.mapper import der, libcrypto

RSA = der.object_identifier("1.2.840.113549.1.1.1")
LONGEST_SIGNATURE = 1024
_MESSAGE = b"gridwarden"


def has_key(certificate: int, keys: list[bytes]) -> bool:
    """Whether one of the ``keys`` (DER: PKCS#1, PKCS#8 or RFC 5915) is the private one of the certificate."""
    try:
        modulus = _modulus(certificate)
    except ValueError:
        return False
    if modulus:
        return any(_factors(key, modulus) for key in keys)
    return any(_signs(key, libcrypto.public_key(certificate)) for key in keys)


def _modulus(certificate: int) -> int:
    """The modulus of a certificate's RSA key; 0 where its key is another.

    SubjectPublicKeyInfo ::= SEQUENCE { SEQUENCE { OID, parameters }, BIT STRING { RSAPublicKey } } (RFC 5280, RFC 8017).
    """
    algorithm, key = der.sequence(
        libcrypto.encoded(libcrypto.i2d_x509_public_key, libcrypto.x509_public_key(certificate))
    )
    if der.elements(algorithm.expect(der.SEQUENCE))[0].expect(der.OBJECT_IDENTIFIER) != RSA:
        return 0
    modulus, _ = der.sequence(key.expect(der.BIT_STRING)[1:])
    return _number(modulus)


def _factors(key: bytes, modulus: int) -> bool:
    """Whether an RSA key holds the two factors of the modulus.

    RSAPrivateKey ::= SEQUENCE { version, modulus, publicExponent, privateExponent, prime1, prime2, … }, in PKCS#8
    (RFC 5958) SEQUENCE { version, algorithm, OCTET STRING { RSAPrivateKey }, … }.
    """
    try:
        members = der.sequence(key)
        if members[1].tag == der.SEQUENCE:
            members = der.sequence(members[2].expect(der.OCTET_STRING))
        first, second = _number(members[4]), _number(members[5])
    except (ValueError, IndexError):
        return False
    return 1 < first < modulus and first * second == modulus


def _signs(key: bytes, public: int) -> bool:
    """Whether what the private ``key`` signs, the ``public`` one verifies."""
    private = libcrypto.decoded(libcrypto.d2i_private_key, key)
    signing, verifying = libcrypto.digest_context_new(), libcrypto.digest_context_new()
    signature, length = ctypes.create_string_buffer(LONGEST_SIGNATURE), ctypes.c_size_t(LONGEST_SIGNATURE)
    return (
        bool(private and public)
        and libcrypto.digest_sign_initialise(signing, None, None, None, private) == 1
        and libcrypto.digest_sign(signing, signature, ctypes.byref(length), _MESSAGE, len(_MESSAGE)) == 1
        and libcrypto.digest_verify_initialise(verifying, None, None, None, public) == 1
        and libcrypto.digest_verify(verifying, signature.raw, length.value, _MESSAGE, len(_MESSAGE)) == 1
    )


def _number(element: der.Element) -> int:
    return int.from_bytes(element.expect(der.INTEGER), "big")
