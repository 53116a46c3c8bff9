"""Certificate chains: RFC 5280 and RFC 3820 (proxies) by libcrypto, and what it leaves to its caller.

Runs in the verifier's child process.  Certificates are libcrypto's pointers, as plain integers.

Decided here, where the standards leave a choice:

- Authorities are the ``HASH.N`` files of one directory; the system's own are never looked at.
- Revocation lists (``HASH.rN``, as fetch-crl writes them) are used where there is one.  One that is out of
  date, unreadable or badly signed refuses every certificate of that authority; none at all is accepted
  if the site says so, because short-lived credential services issue none.
- Signing policies likewise: the one of a certificate's issuer must permit its name.
- Signatures by MD5 or SHA-1 and keys below 80 bits of security (RSA 1024) do not count.
"""

from __future__ import annotations

import os

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import libcrypto, signing_policy, x509
from gridwarden.mapper.site_files import readable
from gridwarden.mapper.spelling import plain, spellings

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from gridwarden.mapper.accepted import Accepted
    from gridwarden.mapper.site_files import SiteFiles

MAXIMUM_DEPTH = 32
_CERTIFICATES = (
    "credentials.certificates in site.yaml names the authorities' directory; everybody must be able to read it"
)

# <openssl/x509_vfy.h>
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


class Authorities:
    """One directory of authorities, for one verification: what libcrypto has read of it, it need not read again.

    Raises ConfigurationError for a directory that holds none: everybody would look like a stranger.
    """

    __slots__ = ("directory", "files", "store")

    def __init__(self, directory: str, files: SiteFiles) -> None:
        try:
            names = os.listdir(directory)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(
                f"{directory}: {why} (the verifier is uid {os.geteuid()})", _CERTIFICATES
            ) from error
        if not any(name[8:] == ".0" for name in names):
            raise ConfigurationError(f"{directory}: holds no certificate authority (no HASH.0 file)", _CERTIFICATES)
        self.directory = directory
        self.files = files
        self.store = libcrypto.store_new()
        if not libcrypto.store_load_path(self.store, os.fsencode(directory)):
            raise ConfigurationError(f"{directory}: libcrypto cannot use it")

    def path(self, name: int, suffix: str) -> str:
        """Where the directory would have a file about ``name``, as c_rehash names them."""
        return os.path.join(self.directory, f"{libcrypto.name_hash(name, None, None, None):08x}.{suffix}")


def verify_chain(
    leaf: int, others: list[int], authorities: Authorities, accepted: Accepted, *, proxies: bool, purpose: int = 0
) -> list[int]:
    """The chain from ``leaf`` to one of the ``authorities``, both included, by way of ``others``.

    ``proxies`` says whether RFC 3820 proxies may stand in it; ``purpose`` is one of libcrypto's, or 0 for
    any.  Raises ChainFault, and ConfigurationError for a file of the directory that cannot be read or trusted.
    """
    untrusted = libcrypto.stack_new()
    for other in others:
        libcrypto.stack_push(untrusted, other)
    context = libcrypto.context_new()
    if not libcrypto.context_initialise(context, authorities.store, leaf, untrusted):
        raise ConfigurationError(f"{authorities.directory}: libcrypto cannot use it")
    parameters = libcrypto.context_parameters(context)
    libcrypto.set_flags(parameters, _CRL_CHECK | _CRL_CHECK_ALL | (_ALLOW_PROXIES if proxies else 0))
    libcrypto.set_depth(parameters, MAXIMUM_DEPTH)
    libcrypto.set_security_level(parameters, _SECURITY_LEVEL)
    if purpose:
        libcrypto.set_purpose(parameters, purpose)

    if accepted.missing_revocation_list:
        libcrypto.forgive(context, lambda context: _without_revocation_list(context, authorities))
    if libcrypto.verify_certificate(context) != 1:
        raise _fault(libcrypto.context_error(context), libcrypto.context_current(context) or leaf, authorities)
    stack = libcrypto.context_chain(context)
    chain = [libcrypto.stack_value(stack, place) for place in range(libcrypto.stack_size(stack))]
    signed = [certificate for certificate in chain if not libcrypto.extension_flags(certificate) & x509.PROXY]
    for path in dict.fromkeys(authorities.path(libcrypto.issuer_name(certificate), "") for certificate in signed):
        authorities.files.require_numbered(path, f"{path}r")
    for certificate in signed:
        if certificate != chain[-1]:
            _require_permission(certificate, authorities, missing_accepted=accepted.missing_signing_policy)
    return chain


def _require_permission(certificate: int, authorities: Authorities, *, missing_accepted: bool) -> None:
    """Raise ChainFault unless the signing policy of the certificate's issuer permits its name."""
    name, issuer = (libcrypto.oneline(of(certificate)) for of in (libcrypto.subject_name, libcrypto.issuer_name))
    path = authorities.path(libcrypto.issuer_name(certificate), "signing_policy")
    try:
        authorities.files.require_trusted(path)
        with open(path, "rb") as file:
            entries = signing_policy.parse(file.read(signing_policy.READ_LIMIT))
    except FileNotFoundError:
        if missing_accepted:
            return
        why = "(credentials.missing_signing_policy in site.yaml can accept that)"
        raise ChainFault(0, f"{issuer}, who issued {name}, has no signing policy {path} {why}") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the verifier (uid {os.geteuid()}) may not read it", readable(path)
        ) from error
    except ValueError as error:
        raise ChainFault(0, f"the signing policy {path} of {issuer} cannot be used: {error}") from error
    pairs = [(authority, person) for authority in spellings(issuer) for person in spellings(name)]
    if not any(signing_policy.permits(entries, authority, person, plain) for authority, person in pairs):
        raise ChainFault(0, f"{issuer} may not certify {name} by its signing policy {path}")


def _without_revocation_list(context: int, authorities: Authorities) -> bool:
    """Whether libcrypto's complaint is only that the authority at hand has no revocation list here."""
    if libcrypto.context_error(context) != _NO_CRL:
        return False
    issuer = libcrypto.issuer_name(libcrypto.context_current(context))
    return not os.path.lexists(authorities.path(issuer, "r0"))


def _fault(code: int, certificate: int, authorities: Authorities) -> ChainFault:  # noqa: PLR0911  one a kind of fault
    name = libcrypto.oneline(libcrypto.subject_name(certificate))
    issuer = libcrypto.oneline(libcrypto.issuer_name(certificate))
    if code in _NO_ISSUER:
        path = authorities.path(libcrypto.issuer_name(certificate), "0")
        if os.path.exists(path) and not os.access(path, os.R_OK):
            raise ConfigurationError(f"{path}: the verifier (uid {os.geteuid()}) may not read it", readable(path))
        if os.path.exists(path):
            return ChainFault(code, f"{name} was not issued by the {issuer} that is in {authorities.directory}")
        return ChainFault(code, f"the issuer of {name}, {issuer}, is not an authority in {authorities.directory}")
    if code == _EXPIRED:
        return ChainFault(code, f"{name} expired on {x509.instant(x509.not_after(certificate))}")
    if code == _NOT_YET_VALID:
        return ChainFault(code, f"{name} is not valid before {x509.instant(x509.not_before(certificate))}")
    if code == _REVOKED:
        return ChainFault(code, f"{issuer} has revoked {name}, serial {x509.serial_text(certificate)}")
    if code in {_NO_CRL, _CRL_NOT_YET_VALID, _CRL_EXPIRED}:
        path = authorities.path(libcrypto.issuer_name(certificate), "r0")
        what = "is out of date"
        if code == _NO_CRL:
            what = "cannot be used" if os.path.lexists(path) else "is missing"
        return ChainFault(code, f"the revocation list {path} of {issuer} {what}")
    return ChainFault(code, f"{name}: {libcrypto.error_text(code)}")
