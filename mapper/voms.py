"""VOMS attributes: the attribute certificates (AC, RFC 5755) that VOMS servers put into a proxy.

Runs in the verifier's child process.  The format is the VOMS attribute certificate profile (OGF GFD.182);
whom to trust for a VO, ``lsc`` reads.

The server's certificate comes inside the AC, so its holder can put anything there: it must be verified
against this site's authorities alone, and the rest of the AC counts for nothing until it has been.
"""

from __future__ import annotations

import time

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import chains, der, libcrypto, lsc, x509
from gridwarden.mapper.accepted import is_too_long
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from gridwarden.mapper.accepted import Accepted
    from gridwarden.mapper.chains import Authorities

ATTRIBUTE_CERTIFICATES = b"1.3.6.1.4.1.8005.100.100.5"
FQANS = der.object_identifier("1.3.6.1.4.1.8005.100.100.4")
GENERIC_ATTRIBUTES = der.object_identifier("1.3.6.1.4.1.8005.100.100.11")
SERVER_CERTIFICATES = der.object_identifier("1.3.6.1.4.1.8005.100.100.10")
TARGETS = der.object_identifier("2.5.29.55")
DIGESTS = {  # by the signature algorithms that count: MD5 and SHA-1 do not
    der.object_identifier("1.2.840.113549.1.1.11"): b"SHA256",
    der.object_identifier("1.2.840.113549.1.1.12"): b"SHA384",
    der.object_identifier("1.2.840.113549.1.1.13"): b"SHA512",
    der.object_identifier("1.2.840.10045.4.3.2"): b"SHA256",
    der.object_identifier("1.2.840.10045.4.3.3"): b"SHA384",
    der.object_identifier("1.2.840.10045.4.3.4"): b"SHA512",
}
CLOCK_SKEW = 300  # seconds that a server's clock may be ahead of ours
_URI = der.context(6, constructed=False)
_DIRECTORY_NAME = der.context(4)
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class AttributeCertificate:
    """One AC, taken apart and not yet believed; raises ValueError for bytes that are not one."""

    def __init__(self, data: bytes) -> None:
        # AttributeCertificate ::= SEQUENCE { acinfo, signatureAlgorithm, signatureValue BIT STRING }
        information, algorithm, signature = der.sequence(data)
        self.signed = information.whole
        self.algorithm = der.elements(algorithm.expect(der.SEQUENCE))[0].expect(der.OBJECT_IDENTIFIER)
        bits = signature.expect(der.BIT_STRING)
        if bits[:1] != b"\0":
            raise ValueError("its signature is not whole bytes")
        self.signature = bits[1:]
        # acinfo ::= SEQUENCE { version, holder, issuer, signature, serial, validity, attributes, …, extensions }
        _, holder, _, inner, _, validity, attributes, *rest = der.elements(information.expect(der.SEQUENCE))
        if inner.whole != algorithm.whole:
            raise ValueError("it names two signature algorithms")
        # Holder ::= SEQUENCE { [0] IssuerSerial ::= { issuer GeneralNames, serial INTEGER, … }, … }
        issuer, serial, *_ = der.elements(der.only(holder.expect(der.SEQUENCE), der.context(0)))
        self.holder_name = der.only(der.only(issuer.whole, der.SEQUENCE), _DIRECTORY_NAME)
        self.holder_serial = serial.whole
        begin, end = der.elements(validity.expect(der.SEQUENCE))
        self.not_before, self.not_after = _seconds(begin), _seconds(end)
        self.vo, self.host, self.fqans = _attributes(attributes.expect(der.SEQUENCE))
        self.server_certificates: list[int] = []
        self.generic: list[str] = []
        for extension in der.elements(rest[-1].expect(der.SEQUENCE)) if rest else []:
            self._read_extension(extension)
        if not self.server_certificates:
            raise ValueError("it lacks its server's certificate")

    def _read_extension(self, extension: der.Element) -> None:
        """Extension ::= SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING }."""
        oid, *critical, value = der.elements(extension.expect(der.SEQUENCE))
        kind = oid.expect(der.OBJECT_IDENTIFIER)
        if kind == SERVER_CERTIFICATES:
            certificates = der.only(der.only(value.expect(der.OCTET_STRING), der.SEQUENCE), der.SEQUENCE)
            self.server_certificates = [x509.from_der(each.whole) for each in der.elements(certificates)]
        elif kind == GENERIC_ATTRIBUTES:
            self.generic = _generic(value.expect(der.OCTET_STRING))
        elif critical or kind == TARGETS:
            raise ValueError("it carries a restriction that is not known here")


class Attributes:
    """What the VOMS servers of a credential say: FQANs and generic attributes in its order, until ``end`` (or None)."""

    __slots__ = ("end", "fqans", "generic")

    def __init__(self, present: list[AttributeCertificate]) -> None:
        self.fqans = [fqan for certificate in present for fqan in certificate.fqans]
        self.generic = [each for certificate in present for each in certificate.generic]
        self.end = min((certificate.not_after for certificate in present), default=None)


def attributes(
    proxies: list[int], person: int, authorities: Authorities, vomsdir: str, accepted: Accepted
) -> Attributes:
    """What a person's proxies carry, verified.

    ``proxies`` and ``person`` are of a verified chain, leaf first; the attributes nearest to the leaf count,
    as everywhere on the grid.  Several ACs there must all hold; the order is the credential's own.
    Raises Refused and ConfigurationError.
    """
    for proxy in proxies:
        try:
            present = _attribute_certificates(proxy)
        except ValueError as error:
            raise Refused(reasons.VOMS_FORGED, f"the VOMS attributes cannot be understood: {error}") from error
        if present:
            for certificate in present:
                _verify(certificate, person, authorities, vomsdir, accepted)
            return Attributes(present)
    return Attributes([])


def _attribute_certificates(proxy: int) -> list[AttributeCertificate]:
    extension = x509.extension(proxy, ATTRIBUTE_CERTIFICATES)
    if extension is None:
        return []
    (inner,) = der.sequence(extension)
    present = [AttributeCertificate(each.whole) for each in der.elements(inner.expect(der.SEQUENCE))]
    if not present:
        raise ValueError("there are none where they should be")
    return present


def _attributes(data: bytes) -> tuple[str, str, list[str]]:
    """The VO, its server's host and the FQANs of the one attribute that a VOMS server writes.

    Attribute ::= SEQUENCE { OID, SET { IetfAttrSyntax ::= SEQUENCE { [0] { URI "VO://HOST:PORT" }, values } } }
    """
    (attribute,) = der.elements(data)
    kind, values = der.elements(attribute.expect(der.SEQUENCE))
    if kind.expect(der.OBJECT_IDENTIFIER) != FQANS:
        raise ValueError("its attributes are not VOMS's")
    authority, names = der.sequence(values.expect(der.SET))
    uri = der.only(authority.expect(der.context(0)), _URI).decode("ascii")
    vo, _, server = uri.partition("://")
    host, _, port = server.partition(":")
    # Both become parts of a path below vomsdir.
    if not (_is_name(vo) and _is_name(host) and port.isdigit()):
        raise ValueError("it does not name its VO and server as VO://HOST:PORT")
    fqans = [each.expect(der.OCTET_STRING).decode("ascii") for each in der.elements(names.expect(der.SEQUENCE))]
    if not all(f"{fqan}/".startswith(f"/{vo}/") for fqan in fqans):
        raise ValueError(f"it speaks for another VO than its own, {vo}")
    return vo, host, fqans


def _generic(data: bytes) -> list[str]:
    """Each ``NAME=VALUE (QUALIFIER)``, escaped as in tab files.

    TagContainer ::= SEQUENCE { SEQUENCE OF TagList ::= SEQUENCE { GeneralNames, SEQUENCE OF Tag } },
    Tag ::= SEQUENCE { name, value, qualifier OCTET STRING } (GFD.182 section 3.5; voms-proxy-fake 2.1 writes the same).
    """
    found: list[str] = []
    (lists,) = der.sequence(data)
    for each in der.elements(lists.expect(der.SEQUENCE)):
        _, tags = der.elements(each.expect(der.SEQUENCE))
        for tag in der.elements(tags.expect(der.SEQUENCE)):
            parts = [part.expect(der.OCTET_STRING) for part in der.elements(tag.expect(der.SEQUENCE))]
            name, value, qualifier = (escape(part.decode("utf-8", "surrogateescape")) for part in parts)
            found.append(f"{name}={value} ({qualifier})")
    return found


def _verify(
    certificate: AttributeCertificate, person: int, authorities: Authorities, vomsdir: str, accepted: Accepted
) -> None:
    whose = f"the VOMS attributes of {certificate.vo} by {certificate.host}"
    listed = lsc.trusted_chains(certificate.vo, certificate.host, vomsdir, authorities.files)
    server, *others = certificate.server_certificates
    claimed = [x509.subject(server), libcrypto.oneline(libcrypto.issuer_name(server))]
    if not any(lsc.begins(chain, claimed) for chain in listed):
        raise Refused(
            reasons.VOMS_UNTRUSTED, f"{whose}: their signer {claimed[0]} by {claimed[1]} is not in its LSC file"
        )
    try:
        verified = chains.verify_chain(server, others, authorities, accepted, proxies=False)
    except chains.ChainFault as fault:
        reason = reasons.VOMS_FORGED if fault.forged else reasons.VOMS_UNTRUSTED
        raise Refused(reason, f"{whose}: {fault}") from fault
    names = [libcrypto.oneline(libcrypto.subject_name(each)) for each in verified]
    if not any(lsc.begins(names, chain) for chain in listed):
        raise Refused(reasons.VOMS_UNTRUSTED, f"{whose}: the chain of their signer is not in its LSC file")
    if not _signed_by(server, certificate):
        raise Refused(reasons.VOMS_FORGED, f"{whose} are not signed by {claimed[0]}")
    if not _held_by(person, certificate):
        raise Refused(reasons.VOMS_FORGED, f"{whose} were issued to another person")
    now = time.time()
    if now > certificate.not_after:
        raise Refused(reasons.VOMS_EXPIRED, f"{whose} expired on {x509.instant(certificate.not_after)}")
    if now < certificate.not_before - CLOCK_SKEW:
        raise Refused(reasons.VOMS_EXPIRED, f"{whose} are not valid before {x509.instant(certificate.not_before)}")
    if is_too_long(certificate.not_before, certificate.not_after, accepted.voms_hours):
        hours = (certificate.not_after - certificate.not_before) // 3600
        raise Refused(
            reasons.CREDENTIAL_LIFETIME, f"{whose} are valid for {hours} hours, and {accepted.voms_hours} are allowed"
        )


def _signed_by(server: int, certificate: AttributeCertificate) -> bool:
    digest = libcrypto.digest_by_name(DIGESTS.get(certificate.algorithm, b""))
    context = libcrypto.digest_context_new()
    key = libcrypto.public_key(server)
    if not digest or not key or libcrypto.digest_verify_initialise(context, None, digest, None, key) != 1:
        return False
    signature, signed = certificate.signature, certificate.signed
    # Below zero is libcrypto's word for an error: only 1 is a yes.
    return libcrypto.digest_verify(context, signature, len(signature), signed, len(signed)) == 1


def _held_by(person: int, certificate: AttributeCertificate) -> bool:
    """Whether the AC names this certificate, by its serial and its issuer (some servers: its subject)."""
    name = libcrypto.decoded(libcrypto.d2i_x509_name, certificate.holder_name)
    return (
        bool(name)
        and certificate.holder_serial == x509.serial(person)
        and 0
        in (
            libcrypto.name_compare(name, libcrypto.issuer_name(person)),
            libcrypto.name_compare(name, libcrypto.subject_name(person)),
        )
    )


def _seconds(element: der.Element) -> int:
    element.expect(der.GENERALIZED_TIME)
    moment = libcrypto.decoded(libcrypto.d2i_asn1_time, element.whole)
    if not moment:
        raise ValueError("it has a date that is none")
    return libcrypto.seconds_since_epoch(moment)


def _is_name(text: str) -> bool:
    return 0 < len(text) < 256 and not text.startswith(".") and _NAME_CHARACTERS.issuperset(text)
