"""The certificates and keys of a PEM file (RFC 7468), and nothing else of it."""

from __future__ import annotations

import binascii
import re

BEGIN = b"-----BEGIN CERTIFICATE-----"
END = b"-----END CERTIFICATE-----"
_BOUNDARY = b"-----"
_KEY = re.compile(rb"-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----([A-Za-z0-9+/=\s]*)-----END \1-----")


def certificates_only(data: bytes) -> bytes:
    """The CERTIFICATE blocks of ``data`` in its order; one without its end is cut at what follows it."""
    blocks = []
    for part in data.split(BEGIN)[1:]:
        body, boundary, rest = part.partition(_BOUNDARY)
        blocks.append(BEGIN + body + (END + b"\n" if (boundary + rest).startswith(END) else b"\n"))
    return b"".join(blocks)


def keys_only(data: bytes) -> bytes:
    """The blocks of ``data`` that are unencrypted private keys (PKCS#8, PKCS#1, RFC 5915)."""
    return b"".join(block.group() + b"\n" for block in _KEY.finditer(data))


def decode_keys(pem: bytes) -> list[bytes]:
    """The DER of each block of an unencrypted private key; one that is damaged is left out."""
    keys = []
    for block in _KEY.finditer(pem):
        try:
            keys.append(binascii.a2b_base64(b"".join(block[2].split()), strict_mode=True))
        except binascii.Error:
            continue
    return keys


def decode(pem: bytes) -> list[bytes]:
    """The DER of each CERTIFICATE block; raises ValueError naming the block that is damaged."""
    certificates = []
    for number, block in enumerate(pem.split(BEGIN)[1:], 1):
        body, end, _ = block.partition(END)
        try:
            certificates.append(binascii.a2b_base64(b"".join(body.split()), strict_mode=True))
        except binascii.Error:
            end = b""
        if not end:
            raise ValueError(f"certificate {number} is damaged or cut short")
    return certificates
