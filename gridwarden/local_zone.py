"""This machine's own time zone."""

from __future__ import annotations

import os
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from gridwarden.errors import BadQuestion


def system_zone() -> tzinfo:
    """Return this machine's local zone, by the rules of tzset(3): TZ, else /etc/localtime, else UTC.

    Raises BadQuestion when TZ is set to something that no time zone file describes.
    """
    name = os.environ.get("TZ")
    if name is not None:
        try:
            return _named(name.removeprefix(":"))
        except (KeyError, ValueError, OSError):
            message = f"TZ={name!r} names no time zone of this machine"
            raise BadQuestion(message, "unset TZ, or set it to a name such as Europe/Berlin or UTC") from None
    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except FileNotFoundError:
        return UTC
    except (ValueError, OSError) as error:
        message = f"/etc/localtime cannot be used: {error}"
        raise BadQuestion(message, "set TZ to a name such as Europe/Berlin or UTC") from None


def _named(name: str) -> tzinfo:
    """Return the zone of a name, or of an absolute path to a file; UTC where it is empty."""
    if not name.startswith("/"):
        return ZoneInfo(name) if name else UTC
    with Path(name).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
