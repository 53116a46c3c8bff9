"""How right this machine's clock is, as far as that can be told: evidence is only as good as its times.

Nothing in here sets a clock: adjtimex(2) with no mode set only reads.
"""

from __future__ import annotations

import ctypes
from datetime import datetime
from typing import TYPE_CHECKING

from gridwarden.hooks.doctor.finding import CRITICAL, NOTE, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSYNCHRONISED = 0x40  # STA_UNSYNC of <linux/timex.h>
ALLOWED_SECONDS = 2  # Slurm tells its time in whole ones
TOO_FAR_SECONDS = 60  # half an hour of munge's patience is less than what tells two jobs apart
REMEDY = "systemctl restart chronyd || systemctl restart systemd-timesyncd"


class Timex(ctypes.Structure):
    """``struct timex`` of the kernel, as far as the fields go that are looked at here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("maximum_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def of_kernel() -> Iterator[Finding]:
    """What the kernel knows of a time daemon; in a virtual machine the host may keep the clock without one."""
    found = Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(found)) != -1 and found.status & UNSYNCHRONISED:
        detail = "the kernel knows of no time daemon that keeps this clock"
        yield Finding("clock-unsynchronised", NOTE, detail, REMEDY)


def of_controller(told: str, before: float, after: float) -> Iterator[Finding]:
    """Compare with the time that slurmctld told, in local time, between two instants of ours (s since the epoch)."""
    try:
        theirs = datetime.fromisoformat(told).timestamp()
    except ValueError:
        return
    apart = theirs - after if theirs > after else min(theirs + 1 - before, 0.0)
    if abs(apart) > ALLOWED_SECONDS:
        severity = CRITICAL if abs(apart) > TOO_FAR_SECONDS else WARNING
        which = "behind" if apart > 0 else "ahead of"
        detail = f"this clock is {abs(apart):.0f} s {which} that of slurmctld"
        yield Finding("clock-differs", severity, detail, REMEDY)
