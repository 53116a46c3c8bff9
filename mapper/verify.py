"""From a proxy file to an identity: read it, have it verified by a process without rights, check what that says.

Nothing of a credential is parsed by the calling process, which is usually root.
"""

from __future__ import annotations

import os

from gridwarden import reasons, tab_file, trusted
from gridwarden.errors import Refused
from gridwarden.mapper import credential_file, pem, readied, verifying
from gridwarden.mapper.accepted import Accepted

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from gridwarden.mapper import identity
    from gridwarden.mapper.verifying import Start, Verifier

USUAL = Accepted()


def verify_proxy(
    path: str | os.PathLike[str],
    *,
    certificates: str | os.PathLike[str],
    vomsdir: str | os.PathLike[str],
    limited_allowed: bool,
    seconds: float,
    caller_uid: int | None = None,
    accepted: Accepted = USUAL,
) -> identity.Identity:
    """Whom the proxy file ``path`` proves its holder to be.

    ``certificates`` and ``vomsdir`` are the site's directories, which everybody must be able to read;
    ``seconds`` is how long verifying may take; ``caller_uid`` as in ``credential_file.read``; ``accepted`` is what the site accepts beyond.
    Raises Refused, ConfigurationError where the site's directories cannot be used or others could write there,
    and Unavailable.
    """
    refuse_changeable(certificates, vomsdir)
    verifier = start(credential_file.read(path, caller_uid), certificates, vomsdir, seconds, accepted)
    return identity_of(verifier, tab_file.escape(os.fspath(path)), limited_allowed=limited_allowed)


def refuse_changeable(*directories: str | os.PathLike[str]) -> None:
    """Raise ConfigurationError where others could write into directories that decide whom to believe."""
    for directory in directories:
        os.close(trusted.open_directory(directory))


def start(
    data: bytes,
    certificates: str | os.PathLike[str],
    vomsdir: str | os.PathLike[str],
    seconds: float,
    accepted: Accepted = USUAL,
    by: Start = verifying.start,
) -> Verifier:
    """Start verifying the bytes of a proxy file; ``identity_of`` waits for the end.  Raises OSError."""
    presented = pem.certificates_only(data) + pem.keys_only(data)
    arguments = [os.fspath(certificates), os.fspath(vomsdir), accepted.word()]
    return by(readied.PROXIES, arguments, presented, seconds)


def identity_of(verifier: Verifier, shown: str, *, limited_allowed: bool) -> identity.Identity:
    """The identity that the verifier finds in the proxy that messages call ``shown``; raises as ``verify_proxy``."""
    person = verifying.judge(verifying.answer(verifier, shown), shown, "x509")
    if person.limited and not limited_allowed:
        raise Refused(reasons.CREDENTIAL_LIMITED, f"{shown}: a proxy of {person.subject} in it is limited")
    return person
