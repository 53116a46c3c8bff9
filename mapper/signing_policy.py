"""Signing policies: the names that each certificate authority may certify, as grid authorities distribute them.

``HASH.signing_policy`` beside the authority's certificate, in Globus's EACL language (the files of IGTF's distribution
1.133 were read to write this)::

    access_id_CA   X509    '/DC=org/DC=example/CN=Example CA'
    pos_rights     globus  CA:sign
    cond_subjects  globus  '"/DC=org/DC=example/*" "/DC=net/DC=example/*"'

``*`` stands for any characters, ``/`` included, ``?`` for one; everything else for itself, ``[`` too.  Rights that are
taken away (``neg_rights``), anything else, and a file that cannot be read, permit nothing.
"""

from __future__ import annotations

from gridwarden.patterns import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ_LIMIT = 1024 * 1024


class Entry:
    """What one authority may certify: patterns of subjects in slash form."""

    __slots__ = ("authority", "may_sign", "subjects")

    def __init__(self, authority: str) -> None:
        self.authority = authority
        self.may_sign = False
        self.subjects: list[str] = []


def parse(data: bytes) -> list[Entry]:
    """The entries of a file; raises ValueError naming the line that is not known."""
    entries: list[Entry] = []
    for number, raw in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        words = line.split(None, 2)
        value, rest = _quoted(words[2]) if len(words) == 3 else ("", "?")
        if rest and not rest.startswith("#"):
            raise ValueError(f"line {number} cannot be understood")
        word, kind = words[0].lower(), words[1]
        if word == "access_id_ca" and kind == "X509":
            entries.append(Entry(value))
        elif not entries:
            raise ValueError(f"line {number} stands before any access_id_CA")
        elif (word, kind, value) == ("pos_rights", "globus", "CA:sign"):
            entries[-1].may_sign = True
        elif word == "cond_subjects" and kind == "globus":
            entries[-1].subjects += _subjects(value)
        else:
            raise ValueError(f"line {number}: {word} {kind} is not known here")
    return entries


def _quoted(text: str) -> tuple[str, str]:
    """A word, in single or double quotes or without, and what stands behind it.

    Neither here nor below by a regular expression: re costs a verification 4 ms.
    """
    if text[0] in "'\"":
        value, closed, rest = text[1:].partition(text[0])
        if closed:
            return value, rest.strip()
    value, *behind = text.split(None, 1)
    return value, "".join(behind)


def _subjects(value: str) -> list[str]:
    """The patterns of a value: in double quotes, or between blanks."""
    parts = value.split('"')
    found: list[str] = []
    for place, part in enumerate(parts):
        closed = place % 2 and place < len(parts) - 1
        found += [part] if closed else part.split()
    return found


def permits(entries: list[Entry], authority: str, subject: str, same: Callable[[str], str]) -> bool:
    """Whether ``authority`` may certify ``subject``; ``same`` gives a name its one spelling."""
    return any(
        matches(same(pattern), same(subject))
        for entry in entries
        if entry.may_sign and same(entry.authority) == same(authority)
        for pattern in entry.subjects
    )
