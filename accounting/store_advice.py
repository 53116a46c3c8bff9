"""What to do about what a database complains of.  Pure."""

from __future__ import annotations

_ADVICE = (
    (
        ("full", "disk I/O", "No space left"),
        "free space on its file system and run gridwarden collect again; nothing that it had is lost",
    ),
    (
        ("deadlock", "could not serialize"),
        "another gridwarden wrote the same at that moment; run this again: it goes on where this one came to",
    ),
    (("locked", "lock timeout"), "another gridwarden collect is running; run this one again when it has ended"),
    (
        ("unable to open", "readonly"),
        "run as root, or make its directory writable, or its file system: even reading makes files beside it",
    ),
    (
        ("malformed", "not a database"),
        "keep the file; move it away and gridwarden collect builds a new one from what still exists",
    ),
    (
        ("too many clients", "connection slots"),
        "raise max_connections of PostgreSQL, or put a pool such as PgBouncer before it, and run this again",
    ),
    (("does not exist",), "make the role and the database that the URL in site.yaml names: docs/store.md"),
    (
        ("permission denied", "authentication"),
        "let the role of the URL in site.yaml connect, and own the database (to collect) or read it",
    ),
)
_DOWN = "start the database, or see its log, and run this again: what was not stored is still where it was"


def hint(problem: str) -> str:
    """Return what to do about what a database said."""
    return next((advice for words, advice in _ADVICE if any(word in problem for word in words)), _DOWN)
