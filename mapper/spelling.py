r"""The ways in which programs spell one and the same name in slash form.

OpenSSL 3's X509_NAME_oneline puts a backslash before each ``/`` and ``+`` inside a value (``CN=pilot\/ce.example.org``,
seen with 3.0.19), and so LCMAPS on the same library does; OpenSSL 1.1 did not, and ban, map, LSC and signing policy
files were written as it did.  Bytes that are not printable ASCII are ``\xHH`` in capitals.  syslog shows a backslash as
``\x5c`` and a quote as ``\x22``, so a name with a letter such as ü is ``\x5cxC3\x5cxBC`` there.
"""

from __future__ import annotations

import re

ESCAPED = ("\\/", "\\+")
IN_SYSLOG = (("\\x5c", "\\"), ("\\x22", '"'))
_BYTE = re.compile(r"\\x([01][0-9A-Fa-f]|7[Ff]|[89A-Fa-f][0-9A-Fa-f])")  # none that is printable ASCII
_DN = re.compile(r"/[^/=]+=")
_IN_VALUE = re.compile(r"([/+])(?![^/+=]*=)")  # nothing up to the next of them is an attribute's name


def spellings(name: str) -> tuple[str, ...]:
    """A name as it is, as OpenSSL 3 writes it, with its slashes and pluses bare, and as syslog shows it.

    A rule about any of them is about it.  One that would with bare slashes read as a different name has no other
    spelling: see ``is_ambiguous``.
    """
    if "\\" not in name and (not _DN.match(name) or not _IN_VALUE.search(name)):
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
    name = _BYTE.sub(lambda byte: f"\\x{byte[1].upper()}", name)
    if not _DN.match(name) or is_ambiguous(name):
        return name
    for pair in ESCAPED:
        name = name.replace(pair, pair[1])
    return _IN_VALUE.sub(r"\\\1", name)


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
