"""Lease names: how the gridmapdir writes an identity as a file name.

The rule is that of Globus, LCMAPS and Argus: every ASCII letter or digit in lower case, every other byte as
``%`` and two lower-case hexadecimal digits; then, raw and each behind a colon, the groups, and LCMAPS's
mapcounter.  It folds case, so two identities can have one name; the registry in ``names`` keeps them apart.

For a byte above 0x7f LCMAPS on amd64 writes another name (it prints a signed char), the same for many people.
Subjects in OpenSSL's slash form are printable ASCII, so the programs agree on every certificate; and ``%ff``,
which stands in those names for whatever byte there was, never stands in one of ASCII.

A name longer than a file name can be is that of its hash instead, behind ``%sha256-``: no encoding has an ``s``
behind ``%``.  LCMAPS refuses such identities, so there is nothing to share with it.
"""

from __future__ import annotations

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.sha256 import sha256

LONGEST_NAME = 255  # NAME_MAX of every file system that a gridmapdir is on
HASHED = "%sha256-"

ENCODED = tuple(chr(byte).lower() if byte < 0x80 and chr(byte).isalnum() else f"%{byte:02x}" for byte in range(256))


def lease_name(subject: str, groups: tuple[str, ...] = (), slot: int = 0) -> str:
    """The lease name of ``subject``, a DN in slash form (bytes that are not UTF-8 as surrogate escapes).

    ``groups`` are the names that stand behind it, in that order; ``slot`` is LCMAPS's mapcounter, 0 for none.
    Raises Refused (credential-malformed) for a subject that does not begin with ``/``, whose name could be
    taken for that of an account.
    """
    if not subject.startswith("/"):
        raise Refused(reasons.CREDENTIAL_MALFORMED, "the subject does not begin with '/', so it is not a DN")
    raw = subject.encode("utf-8", "surrogateescape")
    name = "".join([ENCODED[byte] for byte in raw])
    suffix = "".join([f":{group}" for group in groups]) + (f":mapcount={slot:04d}" if slot else "")
    raw_suffix = suffix.encode("utf-8", "surrogateescape")
    if len(name) + len(raw_suffix) <= LONGEST_NAME:
        return name + suffix
    # Of the exact bytes: what only case tells apart need not be refused here.
    return HASHED + sha256(raw + b"\0" + raw_suffix).hexdigest()
