"""Pseudonyms in place of identities: the same for the same person, so that sums by person still hold.

A pseudonym is an HMAC-SHA-256 of scheme and subject by a key that only root of one machine has.  With the key it can be
said whether a known identity is behind one; without it, nothing.
"""

from __future__ import annotations

import hmac
import json
import os
import shlex
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.records import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.records import Value

PREFIX = "pseudonym:"
KEY_BYTES = 32
# Of every field of a record: whether it names a person, is made of such a name, may say anything, or is none of these.
NAMING = {"subject": "scheme", "also_subject": "also_scheme", "pilot_subject": "pilot_scheme", "name": ""}
FREE = frozenset(
    {
        "also_credential",
        "arguments",
        "because",
        "credential",
        "detail",
        "into",
        "path",
        "pattern",
        "program",
        "reason",
        "text",
        "what",
        "who",
    }
)
IMPERSONAL = frozenset(
    [
        "account", "action", "adopted", "also_scheme", "also_vo", "answer", "answered", "batch", "batch_start", "boot",
        "bytes", "cgroup", "clock", "cluster", "command", "cpu", "evidence", "exit_code", "file", "fqans", "group_cpu",
        "hold", "inode", "job", "kind", "lease", "lines", "measured", "memory", "node", "parent", "part", "payload", "pid",
        "pilot", "pilot_scheme", "pilot_uid", "pilot_vo", "process_start", "restart", "scheme", "sha256", "signal",
        "since", "stamp", "status", "system", "time", "uid", "until", "user", "vo", "why",
    ]
)  # fmt: skip
SILENT_KINDS = frozenset(kind for kind, fields in KINDS.items() if IMPERSONAL.issuperset(fields))


def key_of(path: Path) -> bytes:
    """Return the key, made at the first call; raises ConfigurationError, OSError."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        trusted.replace_file(fresh, os.urandom(KEY_BYTES), 0o600)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another expiry made it first
        finally:
            fresh.unlink()
    descriptor = trusted.open_file(path)
    try:
        secret = not trusted.status_of(descriptor, str(path)).st_mode & 0o077
        key = trusted.read_all(descriptor, KEY_BYTES, str(path))
    finally:
        os.close(descriptor)
    if not secret:
        raise ConfigurationError(f"{path}: can be read by others", f"chmod 600 {shlex.quote(str(path))}")
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path}: is not a key of {KEY_BYTES} bytes", "restore it from a copy")
    return key


def pseudonym(key: bytes, scheme: str, subject: str) -> str:
    """Return what stands for an identity; for one that is a pseudonym already, or none, the same."""
    if not subject or subject.startswith(PREFIX):
        return subject
    text = f"{scheme}\0{subject}".encode("utf-8", "backslashreplace")
    return PREFIX + hmac.digest(key, text, "sha256").hex()[:32]


def of_record(key: bytes, body: dict[str, Value]) -> dict[str, Value]:
    """Return a record without its identities; a field that no version of ours declares goes altogether."""
    found: dict[str, Value] = {}
    for field, value in body.items():
        if field in NAMING and value is not None:
            scheme = body.get(NAMING[field])
            if field == "pilot_subject" and "pilot_scheme" not in body:
                scheme = body.get("scheme")  # records of before said no more
            found[field] = pseudonym(key, str(scheme or ""), str(value))
        elif field in FREE:
            found[field] = "" if value is not None else None
        elif field in IMPERSONAL:
            found[field] = value
    return found


def of_text(key: bytes, body: str) -> str:
    """Return the same for a record's JSON."""
    return json.dumps(of_record(key, json.loads(body)), separators=(",", ":"))
