"""When a ban begins or ends, as people write it: unlike the times of ``whoran``, these may be still to come."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from gridwarden.errors import BadQuestion
from gridwarden.mapper.ban import moment

_AHEAD = re.compile(r"\+(\d{1,6})([mhd])", re.ASCII)
_UNITS = {"m": 60, "h": 3600, "d": 86400}


def when(text: str, now: float | None = None) -> str:
    """The instant in the form of ``Ban.start``, or "" for ""; raises BadQuestion."""
    if not text:
        return ""
    if match := _AHEAD.fullmatch(text):
        return moment((time.time() if now is None else now) + int(match[1]) * _UNITS[match[2]])
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or not 1970 <= instant.year < 9999:
        raise BadQuestion(f"{text!r} is not a time", "write +90m, +12h, +7d, or UTC such as 2026-12-01T00:00:00Z")
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
