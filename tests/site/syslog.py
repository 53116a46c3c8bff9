"""What the site's rsyslogd has written, once it has written all that was said before one asks."""

from __future__ import annotations

import secrets
import syslog
from pathlib import Path

from tests.site.slurm import until

FILE = Path("/var/log/syslog")


def text() -> str:
    """All of it, up to now: it takes one message after the other, so whatever came before one of ours is there with that."""
    mark = f"mark {secrets.token_hex(16)}"
    syslog.syslog(mark)
    until("syslog to have our mark", lambda: mark in _read())
    return _read()


def lines() -> list[str]:
    return text().splitlines()


def _read() -> str:
    return FILE.read_text(errors="replace")
