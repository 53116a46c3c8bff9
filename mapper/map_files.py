r"""LCMAPS's grammar of map and ban files, and its way to match a pattern.

A line is a key, and after blanks or a comma what the key maps to.  ``#`` begins a comment, at the start of a
line or after the key.  A key that holds blanks stands in double quotes; ``\`` before a quote keeps it from
ending the key, and is part of the key.  Keys are shell patterns in which ``*`` crosses ``/``.

LCMAPS obeys the lines above one that it cannot read.  Here such a line is a fault of the whole file, because
nobody knows whom it was meant to stop.
"""

from __future__ import annotations

from gridwarden import patterns
from gridwarden.errors import ConfigurationError
from gridwarden.patterns import check_pattern
from gridwarden.values import NamedTuple

BLANKS = " \t"
SPECIAL = frozenset("*?[")
CONTROLS = frozenset(map(chr, range(0x20))) - frozenset("\t")


class Line(NamedTuple):
    """One line that says something: its key, whether that was quoted, and what stands after it, less comments."""

    number: int
    key: str
    quoted: bool
    rest: str


def parse(data: bytes, name: str) -> list[Line]:
    """The lines of a map file; raises ConfigurationError with every fault (``name:line: what``)."""
    lines: list[Line] = []
    faults: list[str] = []
    for number, text in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        try:
            line = parse_line(text, number)
        except ValueError as error:
            faults.append(f"{name}:{number}: {error}")
        else:
            lines += [line] if line else []
    if faults:
        raise ConfigurationError(faults, "until it is corrected, everybody is refused")
    return lines


class MapFile(NamedTuple):
    """A file read as LCMAPS reads it: the lines above the first that cannot be read, and that one's fault, if any."""

    name: str
    lines: tuple[Line, ...]
    fault: str = ""


def read_map(data: bytes, name: str) -> MapFile:
    """What a file maps; a line that cannot be read ends it, and whoever no line above matches is then refused."""
    lines: list[Line] = []
    for number, text in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        try:
            line = parse_line(text, number)
        except ValueError as error:
            return MapFile(name, tuple(lines), f"{name}:{number}: {error}")
        lines += [line] if line else []
    return MapFile(name, tuple(lines))


def parse_line(text: str, number: int) -> Line | None:
    """What a line says; None for a comment or an empty line; raises ValueError."""
    text = text.lstrip(BLANKS)
    if not text or text.startswith("#"):
        return None
    if not text.isprintable() and (control := next((one for one in text if one in CONTROLS), "")):
        raise ValueError(f"it holds the control byte 0x{ord(control):02x}" + " (a DOS line end?)" * (control == "\r"))
    if text.endswith("\\"):
        raise ValueError("it ends with a backslash, and lines cannot be continued")
    quoted = text.startswith('"')
    key, rest = quoted_key(text) if quoted else bare_key(text)
    if not key:
        raise ValueError("it has no key")
    check_pattern(key)
    rest = rest.lstrip(BLANKS + ",")  # not at its end: a separator behind a backslash is part of a value
    return Line(number, key, quoted, "" if rest.startswith("#") else rest)


def mappings(rest: str) -> list[str]:
    r"""What a key maps to: words between blanks and commas, up to a comment; ``\c`` is ``c``, quotes are nothing special."""
    words: list[str] = []
    word, escaped = "", False
    for character in rest:
        if escaped or character not in BLANKS + ",#\\":
            word, escaped = word + character, False
        elif character == "\\":
            escaped = True
        else:
            words, word = [*words, word], ""
            if character == "#":
                break
    return [word for word in [*words, word] if word]


def quoted_key(text: str) -> tuple[str, str]:
    """Split a line that begins with a quote into its key and the rest."""
    end = text.find('"', 1)
    if "\\" in text[:end]:
        end = 1
        while text[end : end + 1] not in ('"', ""):
            end += 2 if text[end] == "\\" else 1
    if not 0 < end < len(text):
        raise ValueError("the quote before the key is not closed")
    return text[1:end], text[end + 1 :]


def bare_key(text: str) -> tuple[str, str]:
    """Split a line at its first blank; raises ValueError where LCMAPS goes on with the key behind that blank."""
    key = text.split(" ", 1)[0].split("\t", 1)[0]
    rest = text[len(key) :]
    if rest and key.endswith("\\"):
        raise ValueError("a backslash stands before a blank; quote a key that holds blanks")
    return key, rest


def matches(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern`` or matches it.

    LCMAPS never takes a DN that holds ``[`` for its own pattern, so such a person could not be banned.
    """
    return pattern == text or (not SPECIAL.isdisjoint(pattern) and patterns.fits(pattern, text))


def matches_as_in_lcmaps(key: str, text: str) -> bool:
    """Whether LCMAPS takes ``key`` for ``text``: fnmatch(3) with FNM_NOESCAPE and no other flag."""
    return key == text if SPECIAL.isdisjoint(key) else patterns.fits(key, text)
