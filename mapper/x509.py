"""X.509 certificates: what they say, read by libcrypto.

Runs in the verifier's child process.  Certificates are libcrypto's pointers, as plain integers.

A name whose slash form could also be another name's is refused: the slash form is what gets mapped.
"""

from __future__ import annotations

import time

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import libcrypto, pem

MAXIMUM_CERTIFICATES = 64
PROXY = 0x400  # <openssl/x509v3.h>
_UNCLEAR = bytes(range(0x20)) + b"\x7f\\"


def parse(presented: bytes) -> list[int]:
    """The certificates of a PEM text in its order, leaf first; raises Refused."""
    if presented.count(pem.BEGIN) > MAXIMUM_CERTIFICATES:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"it holds more than {MAXIMUM_CERTIFICATES} certificates")
    try:
        certificates = [from_der(certificate) for certificate in pem.decode(presented)]
    except ValueError as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, str(error)) from error
    if not certificates:
        raise Refused(reasons.CREDENTIAL_MALFORMED, "there is no certificate in it")
    return certificates


def from_der(data: bytes) -> int:
    """The certificate that ``data`` is; raises ValueError."""
    certificate = libcrypto.decoded(libcrypto.d2i_x509, data)
    if not certificate:
        raise ValueError("what it calls a certificate is none")
    return certificate


def extension(certificate: int, oid: bytes) -> bytes | None:
    """The contents of the extension ``oid`` (dotted), or None; raises ValueError when it is there twice."""
    wanted = libcrypto.object_from_text(oid, 1)
    place = libcrypto.extension_by_object(certificate, wanted, -1)
    if place == -1:
        return None
    if libcrypto.extension_by_object(certificate, wanted, place) != -1:
        raise ValueError("an extension stands twice in one certificate")
    return libcrypto.string_bytes(libcrypto.extension_data(libcrypto.extension_at(certificate, place)))


def subject(certificate: int) -> str:
    """The subject in slash form, as LCMAPS has it; raises Refused when that form could be another name's."""
    name = libcrypto.subject_name(certificate)
    slashed = libcrypto.oneline(name)
    entries = [libcrypto.name_entry(name, place) for place in range(libcrypto.name_size(name))]
    # Two values of one part (CN=a+CN=b): older spellings have them as two parts.
    several = len({libcrypto.entry_part(entry) for entry in entries}) < len(entries)
    if several or any(ambiguous(libcrypto.string_bytes(libcrypto.entry_value(entry))) for entry in entries):
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"a part of the name {slashed} could be mistaken for another")
    return slashed


def ambiguous(value: bytes) -> bool:
    """Whether a name with this value could in one of its spellings (``spelling``) be read as a different one.

    libcrypto leaves backslashes alone, and older ones also a slash or plus inside a value (``CN=host/a.example`` is
    common and clear, ``CN=anna/CN=bela`` is not).
    """
    if value.translate(None, _UNCLEAR) != value:
        return True
    return any(b"=" in part for part in value.replace(b"+", b"/").split(b"/")[1:])


def serial(certificate: int) -> bytes:
    """The DER of the serial number."""
    return libcrypto.encoded(libcrypto.i2d_asn1_integer, libcrypto.serial_number(certificate))


def serial_text(certificate: int) -> str:
    """The serial number in hexadecimal."""
    return libcrypto.string_bytes(libcrypto.serial_number(certificate)).hex()


def not_after(certificate: int) -> int:
    """The last second, since the epoch, at which the certificate holds."""
    return libcrypto.seconds_since_epoch(libcrypto.not_after(certificate))


def not_before(certificate: int) -> int:
    """The first second, since the epoch, at which the certificate holds."""
    return libcrypto.seconds_since_epoch(libcrypto.not_before(certificate))


def instant(seconds: int) -> str:
    """Seconds since the epoch as an ISO 8601 time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
