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

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ_LIMIT = 1024 * 1024
_LINE = re.compile(r"(\w+)\s+(\S+)\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))")
_SUBJECT = re.compile(r'"([^"]*)"|([^\s"]+)')


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
        match = _LINE.match(line)
        rest = line[match.end() :].strip() if match else "?"
        if not match or (rest and not rest.startswith("#")):
            raise ValueError(f"line {number} cannot be understood")
        word, kind, value = match[1].lower(), match[2], next(each for each in match.groups()[2:] if each is not None)
        if word == "access_id_ca" and kind == "X509":
            entries.append(Entry(value))
        elif not entries:
            raise ValueError(f"line {number} stands before any access_id_CA")
        elif (word, kind, value) == ("pos_rights", "globus", "CA:sign"):
            entries[-1].may_sign = True
        elif word == "cond_subjects" and kind == "globus":
            entries[-1].subjects += [quoted or bare for quoted, bare in _SUBJECT.findall(value)]
        else:
            raise ValueError(f"line {number}: {word} {kind} is not known here")
    return entries


def permits(entries: list[Entry], authority: str, subject: str, same: Callable[[str], str]) -> bool:
    """Whether ``authority`` may certify ``subject``; ``same`` gives a name its one spelling."""
    return any(
        matches(same(pattern), same(subject))
        for entry in entries
        if entry.may_sign and same(entry.authority) == same(authority)
        for pattern in entry.subjects
    )


def matches(pattern: str, subject: str) -> bool:
    """Whether the pattern matches; in time that does not grow beyond the product of their lengths."""
    first, *rest = pattern.split("*")
    if not rest:
        return _at(first, subject, 0) and len(first) == len(subject)
    if not _at(first, subject, 0):
        return False
    *middle, last = rest
    place, end = len(first), len(subject) - len(last)
    for part in middle:
        place = next((start for start in range(place, end - len(part) + 1) if _at(part, subject, start)), -1)
        if place < 0:
            return False
        place += len(part)
    return place <= end and _at(last, subject, end)


def _at(part: str, subject: str, start: int) -> bool:
    """Whether ``part`` stands in ``subject`` at ``start``."""
    found = subject[start : start + len(part)]
    return len(found) == len(part) and all(want in ("?", have) for want, have in zip(part, found, strict=True))
