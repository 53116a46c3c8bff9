"""Lease names: how the gridmapdir writes an identity as a file name.

The rule is that of Globus, LCMAPS and Argus: every ASCII letter or digit in lower case, every other byte as
``%`` and two lower-case hexadecimal digits.  It folds case, so two identities can have one name; the registry
in ``names`` keeps them apart.  For a byte above 0x7f LCMAPS on amd64 writes another name (it prints a signed
char); subjects in OpenSSL's slash form are ASCII, so the two programs agree on every certificate.
"""

from __future__ import annotations

from gridwarden import reasons
from gridwarden.errors import Refused

LONGEST_NAME = 255  # NAME_MAX of every file system that a gridmapdir is on

ENCODED = tuple(chr(byte).lower() if byte < 0x80 and chr(byte).isalnum() else f"%{byte:02x}" for byte in range(256))


def lease_name(subject: str) -> str:
    """The lease name of ``subject``, a DN in slash form (bytes that are not UTF-8 as surrogate escapes).

    Raises Refused: credential-malformed for a subject that does not begin with ``/``, whose name could be
    taken for that of an account; lease-name-too-long.
    """
    if not subject.startswith("/"):
        raise Refused(reasons.CREDENTIAL_MALFORMED, "the subject does not begin with '/', so it is not a DN")
    name = "".join([ENCODED[byte] for byte in subject.encode("utf-8", "surrogateescape")])
    if len(name) > LONGEST_NAME:
        detail = f"a DN of {len(subject)} characters needs a name of {len(name)} bytes, {LONGEST_NAME} is the most"
        raise Refused(reasons.LEASE_NAME_TOO_LONG, detail)
    return name
