"""Find what looks like a secret in a command line.

Each rule looks at the whole text by itself and names the parts that have to go, so that none can hide one from
another.  Rather too much is found than too little.  Every expression takes time in proportion to the text: repeats
are possessive, or start where no longer one could have.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from gridwarden.prune import secret_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    Span = tuple[int, int]

NAME = re.compile(
    r"""(?<![\w.-]) (?P<name>-{0,2}[\w.-]++) (?P<quote>%22|\\*+["']?+) \]?+
    (?: (?P<assigned>[\s\0]*+(?:=>|:=|==?|:|%3[ADad])[\s\0]*+ | >) | (?P<followed>[\s\0]++) | \Z)""",
    re.ASCII | re.VERBOSE,
)
SHELL_WORD = re.compile(r"""(?: "(?:[^"\\\0]|\\[^\0])*+"?+ | '[^'\0]*+'?+ | \\[^\0] | [^\s\0"'] )++""", re.VERBOSE)
QUOTED = re.compile(
    r"""(?: (?P<escaped>\\++["']) [^\0]*? (?:(?P=escaped)|(?=\0)|\Z)
    | (?P<plain>["']) (?:\\[^\0] | (?!(?P=plain))[^\\\0])*+ (?P=plain)?+ )""",
    re.VERBOSE,
)
ENDS_OF_VALUES = " \t\r\n\0,;:)]}&|"  # behind a quote; a shell goes on with the same word at others
REST_OF_QUOTE = {'"': re.compile(r'(?:[^"\\\0]|\\[^\0])*+'), "'": re.compile(r"[^'\0]*+")}
QUERY_VALUE = re.compile(r"[^&#\s\0\"'<>]*+")
ELEMENT_VALUE = re.compile(r"[^<\0]*+")
HEADER_VALUE = re.compile(r"[^\"'\r\n\0]*+")
BLANK = re.compile(r"[\s\0]*+")
WORD = re.compile(r"[^\s\0]++")
COMMAND_OPTION = re.compile(r"-\w*c", re.ASCII)
PATH = re.compile(r"(?:~|\.{1,2})?(?:/[\w.@+-]++)++/?", re.ASCII)

USER_OPTION = re.compile(r"(?<![\w-])(?:-u|--(?:proxy-)?user(?:name)?)[=\s\0]++(?P<value>[^\s\0:]*+:[^\s\0]++)")
USER_AT_HOST = re.compile(r"(?<![\w.+-])[\w.+-]++:(?P<value>[^\s\0@/:\"']++)@(?=[\w\[])", re.ASCII)
URL = re.compile(r"(?<![\w.+-])[a-z][\w.+-]*+://(?P<rest>[^\s\0\"'<>`]++)", re.ASCII | re.IGNORECASE)

PEM = re.compile(r"-----BEGIN(?:(?!-----END).)*+(?:-----END[^-]*+-*+)?", re.DOTALL)
IDENTIFIED = re.compile(r"\bidentified\s++by\s++(?P<value>\"[^\"\0]*+|'[^'\0]*+|[^\s\0;]++)", re.IGNORECASE)
BASIC = re.compile(r"\bBasic\s++(?P<value>[A-Za-z0-9+/]{8,}+=*+)")
ISSUED = re.compile(
    r"""(?<![A-Za-z])eyJ[\w.+/=%~-]*+  # a JSON Web Token, or other JSON in base64
    | (?<![A-Za-z0-9])(?:
        gh[a-z]_\w{4,}+ | github_pat_\w*+ | gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt|ffct)-[\w.-]*+
      | A(?:KIA|SIA|BIA|CCA|GPA|IDA|IPA|NPA|NVA|ROA|PKA)[A-Z0-9]{12,}+ | AIza[\w-]{8,}+ | ya29\.[\w-]*+
      | xox[a-z]-[\w.-]*+ | xapp-[\w.-]*+ | sk-[\w-]{16,}+ | [prs]k_(?:live|test)_\w*+ | hv[brs]\.[\w.-]{8,}+
      | npm_[A-Za-z0-9]{16,}+ | pypi-AgE[\w-]*+ | SG\.[\w-]{8,}+[\w.-]*+ | hf_[A-Za-z0-9]{16,}+ | dckr_pat_[\w-]*+
      | do[opr]_v1_\w*+ | shp[a-z]{2}_\w{16,}+ | glsa_\w*+ | AGE-SECRET-KEY-\w*+ )""",
    re.ASCII | re.VERBOSE,
)
LONG = re.compile(r"(?<![A-Za-z0-9+/_~-])[A-Za-z0-9+/_~-]{20,}+=*+")
PIECE = re.compile(r"[A-Za-z0-9+_~-]{20,}+=*+")
HEXADECIMAL = re.compile(r"(?:[0-9a-f]{32,}+|[0-9A-F]{32,}+)")
SHORTEST_BASE64 = 32  # that may have slashes
SHORTEST_WORD = 4  # all small, all capital or all digits, by which a path is told from base64
RANDOM_CHANGES, RANDOM_CHANGES_IN_PATH = 0.4, 0.5  # between kinds of characters, each: 0.64 in random base64


def secrets(text: str) -> list[Span]:
    """(start, end) of all that looks like a secret in ``text``, whose words end with zero bytes; in order, apart."""
    found: list[Span] = []
    for start, end in sorted({*_named(text), *_of_short_options(text), *_in_urls(text), *_by_shape(text)}):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif start < end:
            found.append((start, end))
    return found


def _named(text: str) -> Iterator[Span]:
    """What stands behind a name of secrets: assigned to it, or as the next word."""
    at = 0
    while match := NAME.search(text, at):
        at = match.end()
        name = match["name"]
        if not secret_names.is_secret(name):
            continue
        start = match.end()
        if match["assigned"] is not None:
            end = _end_of_assigned(text, match)
            if secret_names.is_of_a_key(name) and PATH.fullmatch(text, start, end):
                continue
            if name in secret_names.WORKING_DIRECTORIES and text.startswith("/", start):
                continue
            at = max(at, end)
        elif match["followed"] is not None and _announces(text, match):  # which its value may do as well
            end = _end_of_word(text, start)
            if secret_names.is_of_a_key(name) and PATH.fullmatch(text, start, end):
                continue
        else:
            continue
        while text[start:end].strip("\"' ").lower() in secret_names.SCHEMES:  # the secret follows it
            at = end = _end_of_word(text, _end(BLANK, text, end))
        yield start, end


def _announces(text: str, match: re.Match[str]) -> bool:
    """Whether what follows a name as the next word is its value: an option's, or that of a bare ``password``."""
    name = match["name"]
    if name.startswith("-"):
        return secret_names.takes_value(name)
    alone = match.start() > 0 and text[match.start() - 1] in "\0 \t\n\"'" and not match["quote"]
    return alone and "." not in name and not secret_names.is_of_a_key(name)


def _end_of_assigned(text: str, match: re.Match[str]) -> int:
    start = match.end()
    before = text[match.start() - 1] if match.start() else "\0"
    if before == "\0" and text[start - 1] != "\0" and not _is_script(text, match.start()):
        return _end_of_argument(text, start)
    if quoted := QUOTED.match(text, start):
        end = quoted.end()
        return end if text[end : end + 1] in ENDS_OF_VALUES else _end_of_word(text, end)
    if secret_names.is_of_a_header(match["name"]) and text[start - 1] != "\0":
        pattern = HEADER_VALUE
    elif match["assigned"] == ">" and before == "<":
        pattern = ELEMENT_VALUE
    elif before in "?&" or "%" in match["assigned"]:
        pattern = QUERY_VALUE
    elif before in REST_OF_QUOTE and not match["quote"]:
        pattern = REST_OF_QUOTE[before]
    else:
        return _end_of_word(text, start)
    return _end(pattern, text, start)


def _end_of_word(text: str, start: int) -> int:
    """Where the value ends that begins there: with the argument if it is one, else with a shell's word."""
    whole = start > 0 and text[start - 1] == "\0"
    return _end_of_argument(text, start) if whole else _end(SHELL_WORD, text, start)


def _end_of_argument(text: str, start: int) -> int:
    end = text.find("\0", start)
    return len(text) if end == -1 else end


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _is_script(text: str, start: int) -> bool:
    """Whether the argument that starts there is a command line: the whole one, or what ``-c`` names."""
    if start == 0:
        return True
    option = text[text.rfind("\0", 0, start - 1) + 1 : start - 1]
    return COMMAND_OPTION.fullmatch(option) is not None


def _of_short_options(text: str) -> Iterator[Span]:
    """``-p X`` and ``-pX`` behind programs that take a secret so, ``user/password`` behind others."""
    letters = ""
    slash = False
    for word in WORD.finditer(text):
        name = word[0].strip("\"'`$();|&").rpartition("/")[2]
        letters += secret_names.SHORT_OPTIONS.get(name, "")
        slash |= name in secret_names.BY_SLASH
        if slash and word[0][0] not in "/.-@" and "/" in word[0]:
            yield word.start() + word[0].index("/") + 1, word.end()
        place = _place_of_letter(word[0], letters)
        if place is None:
            continue
        start = word.start() + place + 1
        if start == word.end():
            start = _end(BLANK, text, start)
            yield start, _end_of_word(text, start)
        elif text[word.start() - 1] == "\0" and not _is_script(text, word.start()):
            yield start, _end_of_argument(text, start)
        else:
            yield start, max(_end_of_word(text, start), word.end())


def _place_of_letter(word: str, letters: str) -> int | None:
    """Where in a word of short options (``-sSu``) one that takes a secret is."""
    if not letters or len(word) < 2 or word[0] != "-" or word[1] == "-":
        return None
    for place, letter in enumerate(word[1:], 1):
        if letter in letters:
            return place
        if not letter.isalpha():
            return None
    return None


def _in_urls(text: str) -> Iterator[Span]:
    """Users and passwords before a host, and those that ``--user`` names together."""
    for pattern in (USER_AT_HOST, USER_OPTION):
        for match in pattern.finditer(text):
            if not match["value"].replace(":", "").isdigit():
                yield match.span("value")
    for match in URL.finditer(text):
        rest = match["rest"]
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        port = authority.rpartition(":")[2]
        if "@" in authority:
            yield match.start("rest"), match.start("rest") + authority.rindex("@")
        elif ":" in authority and not port.isdigit() and port and "@" in rest:  # a password may have slashes, too
            yield match.start("rest"), match.start("rest") + rest.rindex("@")


def _by_shape(text: str) -> Iterator[Span]:
    """Keys and tokens that are known by their form, and long random words."""
    for pattern in (PEM, ISSUED):
        yield from (match.span() for match in pattern.finditer(text))
    for pattern in (BASIC, IDENTIFIED):
        yield from (match.span("value") for match in pattern.finditer(text))
    for match in LONG.finditer(text):
        in_path = "/" in match[0] or text[match.start() - 1 : match.start()] == "." or text[match.end() :][:1] == "."
        if len(match[0]) >= SHORTEST_BASE64 and _is_random(match[0], RANDOM_CHANGES) and not _is_path(match[0]):
            yield match.span()
        for piece in PIECE.finditer(text, *match.span()):
            if _is_random(piece[0], RANDOM_CHANGES_IN_PATH if in_path else RANDOM_CHANGES):
                yield piece.span()
        if not in_path:
            yield from (number.span() for number in HEXADECIMAL.finditer(text, *match.span()))


def _is_random(word: str, changes: float) -> bool:
    """Whether small and capital letters and digits follow each other as no person writes them."""
    kinds = _kinds(word)
    changed = sum(one != other for one, other in pairwise(kinds))
    return len(set(kinds)) == 3 and changed >= changes * (len(kinds) - 1)


def _is_path(word: str) -> bool:
    parts = [_kinds(part) for part in word.split("/")]
    return any(len(kinds) >= SHORTEST_WORD and len(set(kinds)) == 1 for kinds in parts)


def _kinds(word: str) -> list[str]:
    return ["digit" if one.isdigit() else "capital" if one.isupper() else "small" for one in word if one.isalnum()]
