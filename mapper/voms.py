"""VOMS attributes: the attribute certificates (AC, RFC 5755) that VOMS servers put into a proxy.

Runs in the verifier's child process.  The format is the VOMS attribute certificate profile (OGF GFD.182);
the trust is an LSC file ``VOMSDIR/VO/HOST.lsc``: the name of the VO's server certificate, that of its issuer,
and so on, a line each, several such chains apart by ``------ NEXT CHAIN ------``.

The server's certificate comes inside the AC, so its holder can put anything there: it must be verified
against this site's authorities alone, and the rest of the AC counts for nothing until it has been.
"""

from __future__ import annotations

import os
import time

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import der, libcrypto, x509

ATTRIBUTE_CERTIFICATES = b"1.3.6.1.4.1.8005.100.100.5"
FQANS = der.object_identifier("1.3.6.1.4.1.8005.100.100.4")
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
NEXT_CHAIN = "------ NEXT CHAIN ------"
CLOCK_SKEW = 300  # seconds that a server's clock may be ahead of ours
MAXIMUM_LSC = 64 * 1024
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
        elif critical or kind == TARGETS:
            raise ValueError("it carries a restriction that is not known here")


def attributes(proxies: list[int], person: int, certificates: str, vomsdir: str) -> tuple[list[str], int | None]:
    """The FQANs that a person's proxies carry, verified, and when the first of them ends (None: there are none).

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
                _verify(certificate, person, certificates, vomsdir)
            fqans = [fqan for certificate in present for fqan in certificate.fqans]
            return fqans, min(certificate.not_after for certificate in present)
    return [], None


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


def _verify(certificate: AttributeCertificate, person: int, certificates: str, vomsdir: str) -> None:
    whose = f"the VOMS attributes of {certificate.vo} by {certificate.host}"
    chains = _trusted_chains(certificate, vomsdir)
    server, *others = certificate.server_certificates
    claimed = [x509.subject(server), libcrypto.oneline(libcrypto.issuer_name(server))]
    if not any(_begins(chain, claimed) for chain in chains):
        raise Refused(
            reasons.VOMS_UNTRUSTED, f"{whose}: their signer {claimed[0]} by {claimed[1]} is not in its LSC file"
        )
    try:
        verified = x509.verify_chain(server, others, certificates, proxies=False)
    except x509.ChainFault as fault:
        reason = reasons.VOMS_FORGED if fault.forged else reasons.VOMS_UNTRUSTED
        raise Refused(reason, f"{whose}: {fault}") from fault
    names = [libcrypto.oneline(libcrypto.subject_name(each)) for each in verified]
    if not any(_begins(names, chain) for chain in chains):
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


def _trusted_chains(certificate: AttributeCertificate, vomsdir: str) -> list[list[str]]:
    """The chains of names that the site's LSC file for this server lists."""
    path = os.path.join(vomsdir, certificate.vo, f"{certificate.host}.lsc")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAXIMUM_LSC)
    except FileNotFoundError:
        raise Refused(
            reasons.VOMS_UNTRUSTED, f"this site does not trust {certificate.host} for {certificate.vo}: no {path}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: the verifier (uid {os.geteuid()}) may not read it") from error
    chains = [[line.strip().strip('"') for line in part.splitlines()] for part in text.split(NEXT_CHAIN)]
    return [names for chain in chains if len(names := [_plain(name) for name in chain if name]) > 1]


def _begins(whole: list[str], start: list[str]) -> bool:
    return [_plain(name) for name in whole[: len(start)]] == [_plain(name) for name in start]


def _plain(name: str) -> str:
    """A name with the one spelling of the attributes that tools have written in several ways."""
    name = name.replace("/E=", "/emailAddress=").replace("/Email=", "/emailAddress=")
    return name.replace("/USERID=", "/UID=")


def _seconds(element: der.Element) -> int:
    element.expect(der.GENERALIZED_TIME)
    moment = libcrypto.decoded(libcrypto.d2i_asn1_time, element.whole)
    if not moment:
        raise ValueError("it has a date that is none")
    return libcrypto.seconds_since_epoch(moment)


def _is_name(text: str) -> bool:
    return 0 < len(text) < 256 and not text.startswith(".") and _NAME_CHARACTERS.issuperset(text)
