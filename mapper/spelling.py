r"""The ways in which programs spell one and the same name in slash form.

OpenSSL 3's X509_NAME_oneline puts a backslash before each ``/`` and ``+`` inside a value (``CN=pilot\/ce.example.org``,
seen with 3.0.19), and so LCMAPS on the same library does; OpenSSL 1.1 did not, and ban, map, LSC and signing policy
files were written as it did.  Bytes that are not printable ASCII are ``\xHH`` in capitals.  syslog shows a backslash as
``\x5c`` and a quote as ``\x22``, so a name with a letter such as ü is ``\x5cxC3\x5cxBC`` there.
"""

from __future__ import annotations

ESCAPED = ("\\/", "\\+")
IN_SYSLOG = (("\\x5c", "\\"), ("\\x22", '"'))
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_BYTE_DIGITS = 2


def spellings(name: str) -> tuple[str, ...]:
    """A name as it is, as OpenSSL 3 writes it, with its slashes and pluses bare, and as syslog shows it.

    A rule about any of them is about it.  One that would with bare slashes read as a different name has no other
    spelling: see ``is_ambiguous``.
    """
    if "\\" not in name and (not _is_dn(name) or _with_backslashes(name) == name):
        return (name,)
    written = as_openssl_3(name)
    if is_ambiguous(written):
        return (name,)
    bare, shown = written, written
    for pair in ESCAPED:
        bare = bare.replace(pair, pair[1])
    for escape, character in IN_SYSLOG:
        shown = shown.replace(character, escape)
    return tuple(dict.fromkeys((name, written, bare, shown)))


def as_openssl_3(name: str) -> str:
    """A name with its backslashes and bytes as OpenSSL 3 has them.

    In a DN a part without ``=`` is no part: there belongs a backslash before it.
    """
    for escape, character in IN_SYSLOG:
        name = name.replace(escape, character)
    name = _with_capital_bytes(name)
    if not _is_dn(name) or is_ambiguous(name):
        return name
    for pair in ESCAPED:
        name = name.replace(pair, pair[1])
    return _with_backslashes(name)


def _with_capital_bytes(name: str) -> str:
    r"""A name with each ``\xHH`` that is not printable ASCII in capitals.

    Not by a regular expression: a verifier of credentials, which may open no file, could not load re.
    """
    first, *rest = name.split("\\x")
    for part in rest:
        digits = part[:_BYTE_DIGITS]
        is_byte = len(digits) == _BYTE_DIGITS and _HEXADECIMAL.issuperset(digits)
        if is_byte and not 0x20 <= int(digits, 16) < 0x7F:
            part = digits.upper() + part[_BYTE_DIGITS:]  # noqa: PLW2901 - it is the same part
        first += "\\x" + part
    return first


def _is_dn(name: str) -> bool:
    """Whether a name begins with an attribute."""
    first, equals, _ = name[1:].partition("=")
    return bool(name.startswith("/") and first and equals and "/" not in first)


def _with_backslashes(name: str) -> str:
    """A name with a backslash before each slash and plus behind which, up to the next, no attribute's name stands.

    Not by a regular expression: re costs a launch 4 ms.
    """
    first, *rest = name.replace("+", "/").split("/")
    place, written = len(first), first
    for part in rest:
        end = place + 1 + len(part)
        written += name[place:end] if "=" in part else "\\" + name[place:end]
        place = end
    return written


def is_ambiguous(name: str) -> bool:
    r"""Whether a name holds ``\/X=`` or ``\+X=``: with bare slashes it would be that of somebody else."""
    mark = "\n"  # in no name
    for pair in ESCAPED:
        name = name.replace(pair, mark)
    return any("=" in rest for part in name.split("/") for rest in part.split(mark)[1:])


def plain(name: str) -> str:
    """A name with the one spelling of the attributes that tools have written in several ways."""
    name = name.replace("/E=", "/emailAddress=").replace("/Email=", "/emailAddress=")
    return name.replace("/USERID=", "/UID=")
