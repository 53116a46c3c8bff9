"""The process that understands a credential: certificates and key come in, who it is goes out.

``gridwarden.mapper.verify`` starts it for one credential.  It loads its code and libraries first, then gives
up all rights, says so, and only then reads.  Its answer is a tab file with either

- ``subject``, ``fqan`` and ``attribute`` (repeated), ``credential``, ``not_after``, ``limited``, or
- ``refused`` and ``detail``, or
- ``fault`` and ``hint``: what of the site's own files is not as it should be, and what to do.

Its starter believes none of it without looking: by then this process may be an attacker's.
"""

from __future__ import annotations

import os
import sys

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import accepted as accepts
from gridwarden.mapper import chains, confine, libcrypto, pem, possession, proxies, voms, x509
from gridwarden.mapper.site_files import SiteFiles
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
        answer = [("fault", str(fault)), ("hint", fault.hint)]
    os.write(1, encode(answer))


def who_is(presented: bytes, certificates: str, vomsdir: str, accepted: accepts.Accepted) -> list[tuple[str, str]]:
    """The identity that a proxy proves, as pairs; raises Refused and ConfigurationError."""
    authorities = chains.Authorities(certificates, SiteFiles())
    leaf, *others = x509.parse(presented)
    legacy: list[int] = []
    maker = leaf
    if accepted.legacy_proxies:
        legacy, maker = proxies.legacy_of(leaf, others)
    proxies.refuse_old_proxy(maker)
    try:
        chain = chains.verify_chain(maker, others, authorities, accepted, proxies=not legacy, purpose=chains.TLS_CLIENT)
    except chains.ChainFault as fault:
        raise fault.refusal() from fault
    made, person = proxies.person_of(legacy, chain)
    if not possession.has_key(leaf, pem.decode_keys(presented)):
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"the private key of {x509.subject(leaf)} is not in it")
    limited = proxies.is_limited(made)
    proxies.refuse_long(made, accepted)
    attributes = voms.attributes(made, person, authorities, vomsdir, accepted)
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
