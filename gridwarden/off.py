"""Parts that an administrator has switched off on this machine: a file for each, which that part looks for itself.

``/etc/gridwarden/off/PART`` is there while the part is off, also after a restart, until it is removed or the time in it
is over.  The part looks with one lstat where all is as usual; only what root alone could have put there counts.  The launcher, by
which others become somebody else, is off as well while something is there of which that cannot be told.
"""

from __future__ import annotations

import os
import time

from gridwarden import syslog_line, tab_file, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.values import NamedTuple

DIRECTORY = "/etc/gridwarden/off"
HOOKS, PRUNE, LAUNCHER = PARTS = ("hooks", "prune", "launcher")
MICROSECONDS = 1_000_000
NOBODY_KNOWN = "nobody known"


class Switch(NamedTuple):
    """Which part is off, why, who did it; since and until when in microseconds since the epoch, 0: until switched on."""

    part: str
    because: str
    who: str
    since: int
    until: int

    def __str__(self) -> str:
        return f"{self.part} switched off by {self.who}: {self.because}"


def path_of(part: str) -> str:
    """The file that is there while the part is off."""
    return f"{DIRECTORY}/{part}"


def switch(part: str) -> Switch | None:
    """Who has switched the part off; None while it is on.  A file that others could have made counts for the launcher alone."""
    if not os.path.lexists(path_of(part)):
        return None
    try:
        found = read(part)
    except (ConfigurationError, OSError) as error:
        if part == LAUNCHER:
            return doubted(error)
        syslog_line.decision("switch", "ignored", part=part, detail=str(error))
        return None
    return found if found.until == 0 or time.time_ns() // 1000 < found.until else None


def doubted(error: Exception) -> Switch:
    """The launcher's switch, where something is in its place that cannot be relied on."""
    return Switch(LAUNCHER, str(error), NOBODY_KNOWN, 0, 0)


def read(part: str) -> Switch:
    """What the part's file says, its time over or not; raises ConfigurationError when it is not root's own and whole."""
    path = path_of(part)
    try:
        values = tab_file.decode(trusted.read_file(path))
        return Switch(part, values["because"][0], values["who"][0], int(values["since"][0]), int(values["until"][0]))
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"{path}: is not whole: {error}", f"gridwarden on {part}") from error


def write(found: Switch) -> None:
    """Switch a part off, for root alone to undo; raises OSError, ConfigurationError."""
    fields = [(name, str(value)) for name, value in found._asdict().items()]
    trusted.replace_file(path_of(found.part), tab_file.encode(fields), 0o644)


def remove(part: str) -> None:
    """Switch a part on; raises OSError, ConfigurationError."""
    directory = trusted.open_directory(DIRECTORY)
    try:
        os.unlink(part, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)
