"""A process's command line as evidence may keep it: with whatever looks like a secret taken out.

The words are an attacker's, or those of a user who put a password where everyone can see it; a record is kept
for years.
"""

from __future__ import annotations

from gridwarden.tab_file import escape

HIDDEN = "[hidden]"
LONGEST_READ = 2048  # bytes of what a process may make megabytes long
LONGEST = 1024  # characters kept


def shown(data: bytes) -> str:
    r"""The text of /proc/PID/cmdline (words ended by zero bytes; anything once a program wrote over it).

    Printable ASCII; any other byte, and a backslash, as ``\xHH``.
    """
    from gridwarden.prune import redact  # noqa: PLC0415 - a hook that kills nothing has no use for what it loads

    text = data[:LONGEST_READ].decode("utf-8", "surrogateescape").rstrip("\0")
    kept = []
    at = 0
    for start, end in redact.secrets(text):
        kept += [_printable(text[at:start]), HIDDEN]
        at = end
    kept.append(_printable(text[at:]))
    return "".join(kept)[:LONGEST]


def _printable(text: str) -> str:
    return escape(text.replace("\0", " "))
