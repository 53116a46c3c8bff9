"""Certificates and VOMS attributes that no honest tool makes: any name, any signer, any lie.

Built from DER up; keys and signatures are openssl's.
"""

from __future__ import annotations

import base64
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from gridwarden.mapper import der, pem
from gridwarden.mapper.der import context, object_identifier

SHA256_RSA = "1.2.840.113549.1.1.11"
SHA1_RSA = "1.2.840.113549.1.1.5"
SHA256_ECDSA = "1.2.840.10045.4.3.2"
COMMON_NAME = "2.5.4.3"
INHERIT_ALL = "1.3.6.1.5.5.7.21.1"
INDEPENDENT = "1.3.6.1.5.5.7.21.2"
LIMITED = "1.3.6.1.4.1.3536.1.1.1.9"
PROXY_INFORMATION = "1.3.6.1.5.5.7.1.14"
ATTRIBUTES = "1.3.6.1.4.1.8005.100.100.5"
TARGETS = "2.5.29.55"
UTF8 = 0x0C
URI = 0x86
HOUR = 3600


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def sequence(*parts: bytes) -> bytes:
    return tlv(der.SEQUENCE, *parts)


def integer(number: int) -> bytes:
    return tlv(der.INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    return tlv(der.OBJECT_IDENTIFIER, object_identifier(dotted))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    return sequence(oid(dotted), tlv(der.BOOLEAN, b"\xff") if critical else b"", tlv(der.OCTET_STRING, value))


def moment(seconds: float) -> bytes:
    return tlv(der.GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds)).encode())


def common_name(*values: bytes, tag: int = UTF8) -> bytes:
    """One more part for a name; several values make one part of several."""
    return tlv(der.SET, *(sequence(oid(COMMON_NAME), tlv(tag, value)) for value in values))


class Holder(NamedTuple):
    """A certificate (DER) and the file of its key."""

    certificate: bytes
    key: Path

    @classmethod
    def read(cls, files: tuple[Path, Path]) -> Holder:
        return cls(pem.decode(files[0].read_bytes())[0], files[1])

    @property
    def _fields_of_certificate(self) -> list[der.Element]:
        return der.elements(der.sequence(self.certificate)[0].value)

    @property
    def serial(self) -> bytes:
        return self._fields_of_certificate[1].whole

    @property
    def issuer(self) -> bytes:
        return self._fields_of_certificate[3].whole

    @property
    def subject(self) -> bytes:
        return self._fields_of_certificate[5].whole


def new_key(path: Path) -> Path:
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path],
        check=True,
        capture_output=True,
    )
    return path


def public_key(key: Path) -> bytes:
    return subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout


def sign(key: Path, data: bytes, digest: str = "-sha256") -> bytes:
    return subprocess.run(["openssl", "dgst", digest, "-sign", key], input=data, check=True, capture_output=True).stdout


def algorithm_of(key: Path) -> str:
    return SHA256_RSA if object_identifier("1.2.840.113549.1.1.1") in public_key(key)[:30] else SHA256_ECDSA


def algorithm(dotted: str) -> bytes:
    return sequence(oid(dotted), b"" if dotted == SHA256_ECDSA else tlv(0x05))


def certificate(
    signer: Holder,
    key: Path,
    subject: bytes,
    extensions: tuple[bytes, ...] = (),
    *,
    validity: tuple[float, float] = (-HOUR, HOUR),
    signature: str = "",
    serial: int = 4711,
) -> Holder:
    """A certificate in the name of ``signer``, signed with its key; ``subject`` is a whole DER name."""
    named = algorithm(signature or algorithm_of(signer.key))
    start, end = (moment(time.time() + offset) for offset in validity)
    signed = sequence(
        tlv(context(0), integer(2)),
        integer(serial),
        named,
        signer.subject,
        sequence(start, end),
        subject,
        public_key(key),
        tlv(context(3), sequence(*extensions)) if extensions else b"",
    )
    made = sign(signer.key, signed, "-sha1" if signature == SHA1_RSA else "-sha256")
    return Holder(sequence(signed, named, tlv(der.BIT_STRING, b"\0", made)), key)


def extended(name: bytes, *parts: bytes) -> bytes:
    """A DER name and further parts."""
    return sequence(der.only(name, der.SEQUENCE), *parts)


def proxy_information(language: str = INHERIT_ALL, policy: bytes = b"") -> bytes:
    body = sequence(sequence(oid(language), tlv(der.OCTET_STRING, policy) if policy else b""))
    return extension(PROXY_INFORMATION, body, critical=True)


def proxy(
    signer: Holder,
    key: Path,
    *extensions: bytes,
    language: str = INHERIT_ALL,
    validity: tuple[float, float] = (-HOUR, HOUR),
) -> Holder:
    """An RFC 3820 proxy of ``signer``, with further extensions."""
    subject = extended(signer.subject, common_name(b"4711"))
    return certificate(signer, key, subject, (proxy_information(language), *extensions), validity=validity)


def attribute_certificate(
    holder: Holder,
    server: Holder,
    uri: str,
    fqans: tuple[str, ...],
    *,
    validity: tuple[float, float] = (-HOUR, HOUR),
    certificates: tuple[bytes, ...] = (),
    extensions: tuple[bytes, ...] = (),
    signature: str = "",
    spare_bits: int = 0,
) -> bytes:
    """What a VOMS server signs (RFC 5755, OGF GFD.182)."""
    named = algorithm(signature or algorithm_of(server.key))
    start, end = (moment(time.time() + offset) for offset in validity)
    attribute = sequence(
        tlv(context(0), tlv(URI, uri.encode())), sequence(*(tlv(der.OCTET_STRING, fqan.encode()) for fqan in fqans))
    )
    shipped = extension("1.3.6.1.4.1.8005.100.100.10", sequence(sequence(*(certificates or (server.certificate,)))))
    signed = sequence(
        integer(1),
        sequence(tlv(context(0), sequence(tlv(context(4), holder.issuer)), holder.serial)),
        tlv(context(0), sequence(tlv(context(4), server.subject))),
        named,
        integer(1),
        sequence(start, end),
        sequence(sequence(oid("1.3.6.1.4.1.8005.100.100.4"), tlv(der.SET, attribute))),
        sequence(shipped, *extensions),
    )
    return sequence(signed, named, tlv(der.BIT_STRING, bytes([spare_bits]), sign(server.key, signed)))


def attributes(*attribute_certificates: bytes) -> bytes:
    """The extension of a proxy that carries attribute certificates."""
    return extension(ATTRIBUTES, sequence(sequence(*attribute_certificates)))


def write(path: Path, *holders: Holder) -> Path:
    """A credential file: the first holder's certificate and key, then the other certificates."""
    leaf, *others = (
        f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(each.certificate).decode()}-----END CERTIFICATE-----\n"
        for each in holders
    )
    path.write_text("".join([leaf, holders[0].key.read_text(), *others]))
    path.chmod(0o600)
    return path
