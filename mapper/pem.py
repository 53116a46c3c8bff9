"""The certificates and keys of a PEM file (RFC 7468), and nothing else of it."""

from __future__ import annotations

import binascii

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = b"-----BEGIN CERTIFICATE-----"
END = b"-----END CERTIFICATE-----"
_BOUNDARY = b"-----"
_KEYS = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_BODY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\n\r\f\v"


def certificates_only(data: bytes) -> bytes:
    """The CERTIFICATE blocks of ``data`` in its order; one without its end is cut at what follows it."""
    blocks = []
    for part in data.split(BEGIN)[1:]:
        body, boundary, rest = part.partition(_BOUNDARY)
        blocks.append(BEGIN + body + (END + b"\n" if (boundary + rest).startswith(END) else b"\n"))
    return b"".join(blocks)


def keys_only(data: bytes) -> bytes:
    """The blocks of ``data`` that are unencrypted private keys (PKCS#8, PKCS#1, RFC 5915)."""
    return b"".join(b"-----BEGIN %b-----%b-----END %b-----\n" % (kind, body, kind) for kind, body in _keys(data))


def decode_keys(pem: bytes) -> list[bytes]:
    """The DER of each block of an unencrypted private key; one that is damaged is left out."""
    keys = []
    for _, body in _keys(pem):
        try:
            keys.append(binascii.a2b_base64(b"".join(body.split()), strict_mode=True))
        except binascii.Error:
            continue
    return keys


def _keys(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each whole block of a private key.  Not by a regular expression: re costs a launch 4 ms."""
    _, *parts = data.split(_BOUNDARY)
    for begin, body, end, _ in zip(parts, parts[1:], parts[2:], parts[3:], strict=False):
        kind = begin.removeprefix(b"BEGIN ")
        if kind != begin and kind in _KEYS and end == b"END " + kind and not body.translate(None, _BODY):
            yield kind, body


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
