"""What a ledger can say: the kinds of record and their fields, declared once.

A record is one flat JSON object whose values are strings, integers or null.  Every record begins with
``kind``, ``time`` (microseconds since the epoch, UTC), ``boot`` (the kernel's boot id), ``clock``
(nanoseconds of CLOCK_BOOTTIME), ``node`` and ``cluster``; its own fields follow in the order given here.
"""

from __future__ import annotations

# json.encoder would bring in re and enum, which a hook cannot afford; this is the function that it calls.
from _json import encode_basestring_ascii as _quote

from gridwarden.errors import EvidenceError

COMMON = ("kind", "time", "boot", "clock", "node", "cluster")
KINDS = {
    "lease": ("account", "uid", "lease", "name", "scheme", "subject", "vo", "fqans", "credential", "adopted"),
    "refused": ("reason", "detail", "scheme", "subject", "vo", "account", "command"),
    "job_start": (
        "batch", "job", "restart", "account", "uid", "lease", "scheme", "subject", "vo",
        "stamp", "evidence", "batch_start",
    ),
    "job_end": ("batch", "job", "restart", "account", "uid", "lease", "exit_code"),
    "payload_start": (
        "payload", "batch", "job", "restart", "pilot", "pilot_uid", "pilot_scheme", "pilot_subject", "pilot_vo",
        "account", "uid", "lease", "scheme", "subject", "vo", "credential",
        "also_scheme", "also_subject", "also_vo", "also_credential", "program", "name", "cgroup",
    ),
    "payload_end": (
        "payload", "batch", "job", "restart", "account", "uid", "lease", "status", "signal", "user", "system",
        "memory", "group_cpu", "measured", "because",
    ),
    "renewed": ("payload", "account", "lease", "scheme", "subject", "credential"),
    "observation": ("account", "lease", "name", "inode"),
    "kill": (
        "account", "uid", "lease", "subject", "pid", "process_start", "parent", "command", "arguments", "cpu",
        "signal", "why", "batch", "job",
    ),
    "removed": ("account", "uid", "lease", "path", "batch", "job"),
    "frozen": (
        "account", "uid", "lease", "subject", "pid", "process_start", "parent", "command", "arguments", "cpu",
        "why", "hold",
    ),
    "quarantined": ("account", "uid", "lease", "path", "into", "hold"),
    "release": ("account", "uid", "lease", "name", "scheme", "subject", "because", "who"),
    "freed": ("account", "uid", "lease", "name", "because"),
    "node_answer": ("account", "lease", "answer", "detail"),
    "repair": ("what", "name", "account", "detail"),
    "ban": ("action", "pattern", "because", "who"),
    "hold": ("batch", "job", "account", "reason"),
    "cancel": ("batch", "job", "account", "lease", "reason"),
    "stamp": ("batch", "job", "account", "lease", "reason"),
    "noted": ("batch", "job", "restart", "account", "uid", "lease", "pid", "process_start", "cgroup", "what", "text"),
    "declared": ("uid", "pid", "process_start", "command", "cgroup", "what", "text", "because"),
    "question": ("who", "text", "answered"),
    "switch": ("part", "action", "because", "who", "since", "until"),
    "exits": ("file", "lines", "bytes", "sha256"),
    "gap": ("what", "reason", "bytes", "sha256"),
}  # fmt: skip

Value = str | int | None


def encode(common: dict[str, Value], fields: dict[str, Value]) -> bytes:
    """The body of a record, in ASCII and without a newline.

    Raises EvidenceError for a kind, a field or a value that is not declared: a record that nobody can
    read later is not evidence.
    """
    kind = common["kind"]
    expected = KINDS.get(str(kind))
    if expected is None or set(fields) != set(expected):
        wrong = sorted(set(fields).symmetric_difference(expected or ()))
        raise EvidenceError(f"a record {kind!r} with these fields is not declared: {', '.join(wrong)}")
    parts = [f'"{name}":{_encode(common[name])}' for name in COMMON]
    parts += [f'"{name}":{_encode(fields[name])}' for name in expected]
    return ("{" + ",".join(parts) + "}").encode("ascii")


def _encode(value: Value) -> str:
    if value is None:
        return "null"
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return _quote(value)
    raise EvidenceError(f"a record's value is a string, an integer or nothing, not {type(value).__name__}")
