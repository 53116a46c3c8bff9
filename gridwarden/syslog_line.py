"""One syslog line for each decision: ``event=map outcome=refused reason=banned subject="/DC=..."``.

Fields and their words are in docs/syslog.md.  Whatever came from outside is escaped, so that no name can
end the line or add a field.
"""

from __future__ import annotations

import syslog

from gridwarden.tab_file import escape

IDENT = "gridwarden"
LONGEST_VALUE = 1024
SUCCESSES = frozenset(
    [
        "leased",
        "loaded",
        "followed",
        "adopted",
        "mapped",
        "released",
        "renewed",
        "freed",
        "started",
        "ended",
        "submitted",
        "killed",
        "removed",
        "answered",
        "added",
        "collected",
        "fetched",
        "unchanged",
        "available",
        "published",
        "sent",
        "stored",
        "swept",
        "reported",
        "updated",
        "verified",
        "expired",
        "on",
    ]
)


def decision(event: str, outcome: str, **fields: str | int | None) -> None:
    """Send one line (facility authpriv; level notice, or warning when ``outcome`` is not a success).

    Never raises: where no daemon listens the line is lost, and the ledger is the evidence.
    """
    level = syslog.LOG_NOTICE if outcome in SUCCESSES else syslog.LOG_WARNING
    syslog.openlog(IDENT, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(level, line(event, outcome, **fields))


def line(event: str, outcome: str, **fields: str | int | None) -> str:
    """The text of the line; a field whose value is None or empty is left out."""
    parts = [f"event={event}", f"outcome={outcome}"]
    parts += [f"{name}={_quoted(str(value))}" for name, value in fields.items() if value is not None and value != ""]
    return " ".join(parts)


def _quoted(value: str) -> str:
    value = escape(value[:LONGEST_VALUE]).replace('"', "\\x22")
    return f'"{value}"' if " " in value or "=" in value else value
