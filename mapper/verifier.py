"""The process that understands a credential: certificates and key come in, who it is goes out.

``gridwarden.mapper.verify`` starts it for one credential.  It loads its code and libraries first, then gives
up all rights, says so, and only then reads.  Its answer is a tab file with either

- ``subject``, ``fqan`` and ``attribute`` (repeated), ``credential``, ``not_after``, ``limited``, or
- ``refused`` and ``detail``, or
- ``fault``: what of the site's own files is not as it should be.

Its starter believes none of it without looking: by then this process may be an attacker's.
"""

from __future__ import annotations

import os
import sys

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import accepted as accepts
from gridwarden.mapper import confine, libcrypto, pem, proxies, voms, x509
from gridwarden.tab_file import encode

INPUT_LIMIT = 512 * 1024
READY = b"ready\n"


def main() -> None:
    """Answer on descriptor 1 about the credential on descriptor 0.

    Arguments: certificates directory, vomsdir, ``Accepted.word``, limit of processor seconds.
    """
    certificates, vomsdir, word, seconds = sys.argv[-4:]
    accepted = accepts.from_word(word)
    confine.confine(int(seconds))
    os.write(1, READY)
    try:
        answer = who_is(os.read(0, INPUT_LIMIT), certificates, vomsdir, accepted)
    except Refused as refusal:
        answer = [("refused", refusal.reason), ("detail", refusal.detail)]
    except ConfigurationError as fault:
        answer = [("fault", str(fault))]
    os.write(1, encode(answer))


def who_is(presented: bytes, certificates: str, vomsdir: str, accepted: accepts.Accepted) -> list[tuple[str, str]]:
    """The identity that a proxy proves, as pairs; raises Refused and ConfigurationError."""
    _require_authorities(certificates)
    leaf, *others = x509.parse(presented)
    legacy: list[int] = []
    maker = leaf
    if accepted.legacy_proxies:
        legacy, maker = proxies.legacy_of(leaf, others)
    proxies.refuse_old_proxy(maker)
    try:
        chain = x509.verify_chain(maker, others, certificates, accepted, proxies=not legacy, purpose=x509.TLS_CLIENT)
    except x509.ChainFault as fault:
        raise fault.refusal() from fault
    made, person = proxies.person_of(legacy, chain)
    _require_key(leaf, presented)
    limited = proxies.is_limited(made)
    proxies.refuse_long(made, accepted)
    attributes = voms.attributes(made, person, certificates, vomsdir, accepted)
    ends = [x509.not_after(certificate) for certificate in legacy + chain]
    if attributes.end is not None:
        ends.append(attributes.end)
    issuer = libcrypto.oneline(libcrypto.issuer_name(person))
    return [
        ("subject", x509.subject(person)),
        *(("fqan", fqan) for fqan in attributes.fqans),
        *(("attribute", attribute) for attribute in attributes.generic),
        ("credential", f"{x509.serial_text(person)}{issuer}"),
        ("not_after", str(min(ends))),
        ("limited", "yes" if limited else "no"),
    ]


def _require_key(leaf: int, presented: bytes) -> None:
    """Raise Refused unless the proxy's own private key is there.

    A chain without it proves nothing about who presents it: chains are sent in the clear.
    """
    for data in pem.decode_keys(presented):
        key = libcrypto.decoded(libcrypto.d2i_private_key, data)
        if key and libcrypto.check_private_key(leaf, key) == 1:
            return
    raise Refused(reasons.CREDENTIAL_MALFORMED, f"the private key of {x509.subject(leaf)} is not in it")


def _require_authorities(directory: str) -> None:
    """Refuse to judge against a directory that holds no authority: everybody would look like a stranger."""
    try:
        names = os.listdir(directory)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"{directory}: {why} (the verifier is uid {os.geteuid()})") from error
    if not any(name[8:] == ".0" for name in names):
        raise ConfigurationError(f"{directory}: holds no certificate authority (no HASH.0 file)")
