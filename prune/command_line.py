"""A process's command line as evidence may keep it: with whatever looks like a secret taken out.

The words are an attacker's, or those of a user who put a password where everyone can see it; a record is kept
for years.  Rather too much is hidden than too little.
"""

from __future__ import annotations

HIDDEN = "[hidden]"
LONGEST = 1024  # characters kept
SECRET_NAMES = (
    "api-key", "apikey", "auth", "authorization", "bearer", "credential", "credentials", "jwt", "key", "passcode",
    "passphrase", "passwd", "password", "pin", "pwd", "secret", "sig", "signature", "token",
)  # fmt: skip
# A JSON Web Token, PEM's first line, and names that GitHub, GitLab, Slack, AWS and Google give their tokens.
SECRET_BEGINNINGS = ("eyJ", "-----BEGIN", "ghp_", "gho_", "github_pat_", "glpat-", "xox", "AKIA", "ASIA", "AIza")
SHORTEST_RANDOM = 20  # characters of letters in both cases and digits, without a break, that no person typed
BREAKS = "/.,:;@&?% \t\r\n'\"(){}[]<>|"


def shown(data: bytes) -> str:
    """The text of /proc/PID/cmdline (words ended by zero bytes; anything once a program wrote over it)."""
    words = data.decode("utf-8", "surrogateescape").rstrip("\0").split("\0")
    text = []
    hide_next = False
    for word in words:
        text.append(HIDDEN if hide_next and not word.startswith("-") else _without_secrets(word))
        hide_next = _announces_secret(word)
    return " ".join(text)[:LONGEST]


def _without_secrets(word: str) -> str:
    """One word; a program may have written all of its arguments into one, so its own words are looked at too."""
    if "-----BEGIN" in word:
        return HIDDEN
    parts = []
    hide_next = False
    for part in word.split(" "):
        parts.append(HIDDEN if hide_next and part and not part.startswith("-") else _hide(part))
        hide_next = _announces_secret(part) or (hide_next and not part)
    return " ".join(parts)


def _hide(part: str) -> str:
    for separator in ("=", ":"):
        name, found, value = part.partition(separator)
        if found and value and not value.startswith("//") and _is_secret_name(name):
            return f"{name}{separator}{HIDDEN}"
    scheme, found, rest = part.partition("://")
    if found and "@" in rest.partition("/")[0]:
        return f"{scheme}://{HIDDEN}@{_hide_pieces(rest.partition('@')[2])}"
    return _hide_pieces(part)


def _hide_pieces(part: str) -> str:
    """``part`` with each piece between breaks, and each value behind ``=``, hidden that looks like a secret."""
    if any(piece.startswith(SECRET_BEGINNINGS) for piece in part.split("=")):
        return part.partition("=")[0] + "=" + HIDDEN if not part.startswith(SECRET_BEGINNINGS) else HIDDEN
    pieces = [""]
    for character in part:
        if character in BREAKS or character == "=":
            pieces += [character, ""]
        else:
            pieces[-1] += character
    for place in range(0, len(pieces), 2):
        behind_secret_name = place > 1 and pieces[place - 1] == "=" and _is_secret_name(pieces[place - 2])
        if pieces[place] and (behind_secret_name or _looks_random(pieces[place])):
            pieces[place] = HIDDEN
    return "".join(pieces)


def _announces_secret(word: str) -> bool:
    """Whether the next word is a secret: ``--password``, ``-p``-like short options aside, ``Bearer``."""
    return (
        "=" not in word
        and _is_secret_name(word.rstrip(":"))
        and (word.startswith("-") or word.endswith(":") or word.lower() == "bearer")
    )


def _is_secret_name(name: str) -> bool:
    """Whether a name says secret: as a whole, or as its last word (``db_password``, ``--aws-secret-key``)."""
    words = name.lstrip("-").lower().replace("_", "-").split("-")
    return (
        words[-1] in SECRET_NAMES
        or "-".join(words[-2:]) in SECRET_NAMES
        or any(word in ("password", "passwd", "secret", "token") for word in words)
    )


def _looks_random(piece: str) -> bool:
    if len(piece) < SHORTEST_RANDOM:
        return False
    return (
        any(character.isdigit() for character in piece)
        and any(character.islower() for character in piece)
        and any(character.isupper() for character in piece)
    )
