"""Proxy certificates: whose they are, which of their rights they keep, how long they live.

Runs in the verifier's child process.  RFC 3820 proxies come here in chains that libcrypto has verified; those of the
kind before it (``CN=proxy``, Globus Toolkit 2) are verified here, where the site accepts them at all.
"""

from __future__ import annotations

import time

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import der, libcrypto, x509
from gridwarden.mapper.accepted import UNLIMITED, is_too_long

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from gridwarden.mapper.accepted import Accepted

INHERIT_ALL = der.object_identifier("1.3.6.1.5.5.7.21.1")
LIMITED = der.object_identifier("1.3.6.1.4.1.3536.1.1.1.9")  # Globus's, the grid's word for "may not start jobs"
PROXY_CERTIFICATE_INFORMATION = b"1.3.6.1.5.5.7.1.14"
LEGACY, LEGACY_LIMITED = "/CN=proxy", "/CN=limited proxy"

# <openssl/x509v3.h>
_AUTHORITY, _INVALID, _UNKNOWN_CRITICAL = 0x10, 0x80, 0x200
_DIGITAL_SIGNATURE = 0x80
_SECURITY_BITS = 80  # as at libcrypto's security level 1


def person_of(legacy: list[int], chain: list[int]) -> tuple[list[int], int]:
    """The proxies of a verified chain, leaf first, and the certificate of the person who made them.

    ``legacy`` are those that stand before the chain.  Raises Refused when there is no proxy at all.
    """
    standard = [certificate for certificate in chain if libcrypto.extension_flags(certificate) & x509.PROXY]
    person = chain[len(standard)]
    proxies = legacy + standard
    refuse_old_proxy(person)
    if not proxies:
        raise Refused(
            reasons.CREDENTIAL_MALFORMED, f"it is the certificate of {x509.subject(person)} itself, not a proxy of it"
        )
    return proxies, person


def refuse_old_proxy(certificate: int) -> None:
    """Raise Refused for a proxy of the kind before RFC 3820."""
    if is_legacy(certificate):
        name = x509.subject(certificate)
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"{name} is a proxy of the kind before RFC 3820")


def is_legacy(certificate: int) -> bool:
    """Whether this is a proxy of the kind before RFC 3820, which only its name tells from a person."""
    named = x509.subject(certificate).endswith((LEGACY, LEGACY_LIMITED))
    return named and not libcrypto.extension_flags(certificate) & x509.PROXY


def legacy_of(leaf: int, others: list[int]) -> tuple[list[int], int]:
    """The legacy proxies that begin with ``leaf``, each made by the next, and the certificate that made the last.

    libcrypto does not know them, so what it does for others is done here: signature, names, times, strength.  Raises
    Refused.
    """
    found: list[int] = []
    while is_legacy(leaf):
        name = x509.subject(leaf)
        maker = next((other for other in others if _made_by(leaf, other)), 0)
        if not maker:
            raise Refused(reasons.CREDENTIAL_UNTRUSTED, f"who is said to have made {name} is not there, or did not")
        begin, end = x509.not_before(leaf), x509.not_after(leaf)
        if not begin <= time.time() <= end:
            when = f"is valid from {x509.instant(begin)} to {x509.instant(end)}"
            raise Refused(reasons.CREDENTIAL_EXPIRED, f"{name} {when}")
        found.append(leaf)
        leaf = maker
    return found, leaf


def _made_by(proxy: int, maker: int) -> bool:
    """Whether ``maker`` is a person or proxy, and made ``proxy`` in its own name with a strong enough signature."""
    name, whose = x509.subject(proxy), x509.subject(maker)
    key = libcrypto.public_key(maker)
    return (
        name in (whose + LEGACY, whose + LEGACY_LIMITED)
        and libcrypto.name_compare(libcrypto.issuer_name(proxy), libcrypto.subject_name(maker)) == 0
        and not libcrypto.extension_flags(maker) & (_AUTHORITY | x509.PROXY)
        and not libcrypto.extension_flags(proxy) & (_INVALID | _UNKNOWN_CRITICAL)
        and bool(libcrypto.key_usage(maker) & _DIGITAL_SIGNATURE)
        and min(libcrypto.signature_bits(proxy), libcrypto.key_bits(key)) >= _SECURITY_BITS
        and libcrypto.verify_signature(proxy, key) == 1
    )


def refuse_long(proxies: list[int], accepted: Accepted) -> None:
    """Raise Refused for a proxy that is valid for longer than the site allows at its level; the leaf comes first."""
    limits = [*accepted.proxy_hours, *[UNLIMITED] * len(proxies)]
    for level, proxy in enumerate(reversed(proxies)):
        allowed = [limits[level], accepted.leaf_proxy_hours if proxy == proxies[0] else UNLIMITED]
        begin, end = x509.not_before(proxy), x509.not_after(proxy)
        if hours := next((hours for hours in allowed if is_too_long(begin, end, hours)), None):
            what = f"{x509.subject(proxy)} (proxy level {level}) is valid for {(end - begin) // 3600} hours"
            raise Refused(reasons.CREDENTIAL_LIFETIME, f"{what}, and {hours} are allowed")


def is_limited(proxies: list[int]) -> bool:
    """Whether a proxy among them is a limited one; raises Refused for a policy that is not known here.

    RFC 3820 section 3.8 has whoever does not know a proxy's policy language refuse the proxy.
    """
    if any(x509.subject(proxy).endswith(LEGACY_LIMITED) for proxy in proxies if is_legacy(proxy)):
        return True
    languages = {_policy_language(proxy) for proxy in proxies if not is_legacy(proxy)}
    if languages - {INHERIT_ALL, LIMITED}:
        raise Refused(reasons.CREDENTIAL_MALFORMED, "a proxy restricts its rights in a way not known here")
    return LIMITED in languages


def _policy_language(proxy: int) -> bytes:
    """ProxyCertInfo ::= SEQUENCE { pathLength INTEGER OPTIONAL, SEQUENCE { language OID, policy OPTIONAL } }."""
    try:
        information = der.sequence(x509.extension(proxy, PROXY_CERTIFICATE_INFORMATION) or b"")
        language, *policy = der.elements(information[-1].expect(der.SEQUENCE))
        return b"" if policy else language.expect(der.OBJECT_IDENTIFIER)
    except (ValueError, IndexError) as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"a proxy's own extension is damaged: {error}") from error
