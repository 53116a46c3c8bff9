"""Certificate chains: RFC 5280 and RFC 3820 (proxies) by libcrypto, and what it leaves to its caller.

Runs in the verifier's child process.  Certificates are libcrypto's pointers, as plain integers.

Decided here, where the standards leave a choice:

- Authorities are the ``HASH.N`` files of one directory; the system's own are never looked at.
- Revocation lists (``HASH.rN``, as fetch-crl writes them) are used where there is one.  One that is out of
  date, unreadable or badly signed refuses every certificate of that authority; none at all is accepted
  if the site says so, because short-lived credential services issue none.
- Signing policies likewise: the one of a certificate's issuer must permit its name.
- Signatures by MD5 or SHA-1 and keys below 80 bits of security (RSA 1024) do not count.
- A name whose slash form could also be another name's is refused: the slash form is what gets mapped.
"""

from __future__ import annotations

import os
import time

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import libcrypto, pem, signing_policy, site_files
from gridwarden.mapper.spelling import plain, spellings

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from gridwarden.mapper.accepted import Accepted

MAXIMUM_CERTIFICATES = 64
MAXIMUM_DEPTH = 32

# <openssl/x509v3.h>, <openssl/x509_vfy.h>
PROXY = 0x400
_CRL_CHECK, _CRL_CHECK_ALL, _ALLOW_PROXIES = 0x4, 0x8, 0x40
_SECURITY_LEVEL = 1
TLS_CLIENT = 1
_NO_ISSUER = frozenset({2, 18, 19, 20, 21})
_NO_CRL, _CRL_NOT_YET_VALID, _CRL_EXPIRED = 3, 11, 12
_BAD_SIGNATURE, _NOT_YET_VALID, _EXPIRED, _REVOKED = 7, 9, 10, 23


class ChainFault(Exception):
    """A chain does not hold: libcrypto's ``code``, and a sentence about the certificate at fault."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code

    @property
    def forged(self) -> bool:
        """Whether no trusted authority made this certificate, whatever it says about its issuer."""
        return self.code == _BAD_SIGNATURE or self.code in _NO_ISSUER

    def refusal(self) -> Refused:
        """The refusal of a person's credential for this fault."""
        return Refused(
            {
                _EXPIRED: reasons.CREDENTIAL_EXPIRED,
                _NOT_YET_VALID: reasons.CREDENTIAL_EXPIRED,
                _REVOKED: reasons.CREDENTIAL_REVOKED,
            }.get(self.code, reasons.CREDENTIAL_UNTRUSTED),
            str(self),
        )


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


def verify_chain(
    leaf: int, others: list[int], directory: str, accepted: Accepted, *, proxies: bool, purpose: int = 0
) -> list[int]:
    """The chain from ``leaf`` to an authority in ``directory``, both included, by way of ``others``.

    ``proxies`` says whether RFC 3820 proxies may stand in it; ``purpose`` is one of libcrypto's, or 0 for
    any.  Raises ChainFault, and ConfigurationError for a file of the directory that cannot be read or trusted.
    """
    store = libcrypto.store_new()
    untrusted = libcrypto.stack_new()
    for other in others:
        libcrypto.stack_push(untrusted, other)
    context = libcrypto.context_new()
    if not (
        libcrypto.store_load_path(store, os.fsencode(directory))
        and libcrypto.context_initialise(context, store, leaf, untrusted)
    ):
        raise ConfigurationError(f"{directory}: libcrypto cannot use it")
    parameters = libcrypto.context_parameters(context)
    libcrypto.set_flags(parameters, _CRL_CHECK | _CRL_CHECK_ALL | (_ALLOW_PROXIES if proxies else 0))
    libcrypto.set_depth(parameters, MAXIMUM_DEPTH)
    libcrypto.set_security_level(parameters, _SECURITY_LEVEL)
    if purpose:
        libcrypto.set_purpose(parameters, purpose)

    def judge(holds: int, context: int) -> int:
        return int(bool(holds) or (accepted.missing_revocation_list and _without_revocation_list(context, directory)))

    callback = libcrypto.VERIFY_CALLBACK(judge)  # named, so that it lives as long as it may be called
    libcrypto.set_callback(context, callback)
    if libcrypto.verify_certificate(context) != 1:
        raise _fault(libcrypto.context_error(context), libcrypto.context_current(context) or leaf, directory)
    stack = libcrypto.context_chain(context)
    chain = [libcrypto.stack_value(stack, place) for place in range(libcrypto.stack_size(stack))]
    for certificate in chain:
        if not libcrypto.extension_flags(certificate) & PROXY:
            authority = libcrypto.issuer_name(certificate)
            site_files.require_numbered(_hashed(directory, authority, ""), _hashed(directory, authority, "r"))
            if certificate != chain[-1]:
                _require_permission(certificate, directory, missing_accepted=accepted.missing_signing_policy)
    return chain


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
    if b"\\" in value or any(byte < 0x20 or byte == 0x7F for byte in value):
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


def _require_permission(certificate: int, directory: str, *, missing_accepted: bool) -> None:
    """Raise ChainFault unless the signing policy of the certificate's issuer permits its name."""
    name, issuer = (libcrypto.oneline(of(certificate)) for of in (libcrypto.subject_name, libcrypto.issuer_name))
    path = _hashed(directory, libcrypto.issuer_name(certificate), "signing_policy")
    try:
        site_files.require_trusted(path)
        with open(path, "rb") as file:
            entries = signing_policy.parse(file.read(signing_policy.READ_LIMIT))
    except FileNotFoundError:
        if missing_accepted:
            return
        why = "(credentials.missing_signing_policy in site.yaml can accept that)"
        raise ChainFault(0, f"{issuer}, who issued {name}, has no signing policy {path} {why}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: the verifier (uid {os.geteuid()}) may not read it") from error
    except ValueError as error:
        raise ChainFault(0, f"the signing policy {path} of {issuer} cannot be used: {error}") from error
    pairs = [(authority, person) for authority in spellings(issuer) for person in spellings(name)]
    if not any(signing_policy.permits(entries, authority, person, plain) for authority, person in pairs):
        raise ChainFault(0, f"{issuer} may not certify {name} by its signing policy {path}")


def _without_revocation_list(context: int, directory: str) -> bool:
    """Whether libcrypto's complaint is only that the authority at hand has no revocation list here."""
    if libcrypto.context_error(context) != _NO_CRL:
        return False
    issuer = libcrypto.issuer_name(libcrypto.context_current(context))
    return not os.path.lexists(_hashed(directory, issuer, "r0"))


def _fault(code: int, certificate: int, directory: str) -> ChainFault:  # noqa: PLR0911  one a kind of fault
    name = libcrypto.oneline(libcrypto.subject_name(certificate))
    issuer = libcrypto.oneline(libcrypto.issuer_name(certificate))
    if code in _NO_ISSUER:
        path = _hashed(directory, libcrypto.issuer_name(certificate), "0")
        if os.path.exists(path) and not os.access(path, os.R_OK):
            raise ConfigurationError(f"{path}: the verifier (uid {os.geteuid()}) may not read it")
        if os.path.exists(path):
            return ChainFault(code, f"{name} was not issued by the {issuer} that is in {directory}")
        return ChainFault(code, f"the issuer of {name}, {issuer}, is not an authority in {directory}")
    if code == _EXPIRED:
        return ChainFault(code, f"{name} expired on {instant(not_after(certificate))}")
    if code == _NOT_YET_VALID:
        return ChainFault(code, f"{name} is not valid before {instant(not_before(certificate))}")
    if code == _REVOKED:
        return ChainFault(code, f"{issuer} has revoked {name}, serial {serial_text(certificate)}")
    if code in {_NO_CRL, _CRL_NOT_YET_VALID, _CRL_EXPIRED}:
        path = _hashed(directory, libcrypto.issuer_name(certificate), "r0")
        what = "is out of date"
        if code == _NO_CRL:
            what = "cannot be used" if os.path.lexists(path) else "is missing"
        return ChainFault(code, f"the revocation list {path} of {issuer} {what}")
    return ChainFault(code, f"{name}: {libcrypto.error_text(code)}")


def _hashed(directory: str, name: int, suffix: str) -> str:
    """Where ``directory`` would have a file about ``name``, as c_rehash names them."""
    return os.path.join(directory, f"{libcrypto.name_hash(name, None, None, None):08x}.{suffix}")
