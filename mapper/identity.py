"""Who somebody is to the grid, as values."""

from __future__ import annotations

from typing import NamedTuple

MAXIMUM_NAME = 1024
MAXIMUM_FQAN = 255
MAXIMUM_FQANS = 256
LATEST = 253402300799  # the last second of the year 9999, where X.509's times end
_PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))
_HEXADECIMAL = frozenset("0123456789abcdef")
_GROUP = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class Identity(NamedTuple):
    """What a verified credential says.

    ``subject`` is the DN in OpenSSL's slash form; ``fqans`` are in the credential's order, without
    ``/Role=NULL`` and ``/Capability=NULL``; ``vo`` is the first FQAN's first component or empty;
    ``credential`` refers to the credential without holding any of it (for X.509 the certificate's serial
    number in hexadecimal and its issuer's DN); ``not_after`` is in seconds since the epoch.
    """

    scheme: str
    subject: str
    fqans: tuple[str, ...]
    vo: str
    credential: str
    not_after: int
    limited: bool


def from_answer(values: dict[str, list[str]]) -> Identity:
    """The identity in a verifier's answer, every field checked; raises ValueError naming what is not right."""
    if set(values) - {"fqan"} != {"subject", "credential", "not_after", "limited"}:
        raise ValueError("its fields are not those of an identity")
    (subject,), (credential,) = values["subject"], values["credential"]
    (not_after,), (limited,) = values["not_after"], values["limited"]
    written = values.get("fqan", [])
    serial, slash, issuer = credential.partition("/")
    if not is_subject(subject):
        raise ValueError("subject")
    if not (serial and _HEXADECIMAL.issuperset(serial) and is_subject(slash + issuer)):
        raise ValueError("credential")
    if not (not_after.isascii() and not_after.isdigit() and len(not_after) < 13 and int(not_after) <= LATEST):
        raise ValueError("not_after")
    if limited not in ("yes", "no"):
        raise ValueError("limited")
    if len(written) > MAXIMUM_FQANS or not all(map(is_fqan, written)):
        raise ValueError("fqan")
    fqans = tuple(map(without_null, written))
    return Identity(
        "x509", subject, fqans, fqans[0].split("/")[1] if fqans else "", credential, int(not_after), limited == "yes"
    )


def is_subject(text: str) -> bool:
    """Whether ``text`` can be a DN in slash form: printable ASCII, at most 1024 characters."""
    return text.startswith("/") and "=" in text and len(text) <= MAXIMUM_NAME and _PRINTABLE.issuperset(text)


def is_fqan(text: str) -> bool:
    """Whether ``text`` is an FQAN: ``/VO[/GROUP…][/Role=ROLE][/Capability=CAPABILITY]`` (OGF GFD.182)."""
    first, *parts = text.split("/")
    for word in ("Capability=", "Role="):
        if len(parts) > 1 and parts[-1].startswith(word):
            parts[-1] = parts[-1].removeprefix(word)
            if not _is_part(parts.pop()):
                return False
    return not first and len(text) <= MAXIMUM_FQAN and bool(parts) and all(map(_is_part, parts))


def without_null(fqan: str) -> str:
    """The FQAN as LCMAPS matches it: a role or capability that is NULL is not written."""
    return fqan.removesuffix("/Capability=NULL").removesuffix("/Role=NULL")


def _is_part(text: str) -> bool:
    return bool(text) and text not in (".", "..") and _GROUP.issuperset(text)
