"""The certificates of a PEM file (RFC 7468), and nothing else of it: above all no private key."""

from __future__ import annotations

import binascii

BEGIN = b"-----BEGIN CERTIFICATE-----"
END = b"-----END CERTIFICATE-----"
_BOUNDARY = b"-----"


def certificates_only(data: bytes) -> bytes:
    """The CERTIFICATE blocks of ``data`` in its order; one without its end is cut at what follows it."""
    blocks = []
    for part in data.split(BEGIN)[1:]:
        body, boundary, rest = part.partition(_BOUNDARY)
        blocks.append(BEGIN + body + (END + b"\n" if (boundary + rest).startswith(END) else b"\n"))
    return b"".join(blocks)


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
