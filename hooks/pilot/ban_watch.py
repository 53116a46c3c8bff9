"""Whether owner or pilot of a payload that runs has been banned: looked for by its own launcher, which asks nobody.

A ban reaches a node as its ban files do, or in the holder file that an agent publishes.  A file that cannot be read, or
that is not whole yet, ends nobody: at the next launch it refuses everybody.
"""

from __future__ import annotations

import os
import time

from gridwarden import holders, syslog_line
from gridwarden.errors import GridwardenError, Refused
from gridwarden.mapper import bans
from gridwarden.mapper.ban import IN_FORCE, NOT_YET, is_met, moment

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.site import SiteValues

LOOK_SECONDS = 5.0
BANNED = "banned: "


class BanWatch:
    """Looks every few seconds whether one of ``owners``, the credentials of a payload as ``account``, is banned now.

    Or one of ``pilots``, those of the account ``caller``, which started it: who may not start payloads here may not have
    them run here either.
    """

    def __init__(
        self,
        owners: Sequence[Identity],
        account: str,
        site: SiteValues,
        pilots: Sequence[Identity] = (),
        caller: str = "",
    ) -> None:
        self._people = [*((one, account) for one in owners), *((one, caller) for one in pilots)]
        self._account = account
        self._site = site
        self._files = (*site.bans, *site.ban_lists, f"{site.holders}/{account}")
        self._seen: list[tuple[int, ...]] | None = None  # a ban may have come since the owner was mapped
        self._begins = ""
        self._next_look = time.monotonic() + LOOK_SECONDS

    def why(self) -> str:
        """Why the payload is to end, or nothing; cheap while none of the files has changed."""
        if time.monotonic() < self._next_look:
            return ""
        self._next_look = time.monotonic() + LOOK_SECONDS
        seen = [_state(path) for path in self._files]
        if seen == self._seen and not (self._begins and self._begins <= moment()):
            return ""
        try:
            why = self._look()
        except (GridwardenError, OSError) as error:
            if seen != self._seen:
                syslog_line.decision("ban", "unread", account=self._account, detail=str(error))
            why = ""
        self._seen = seen
        return why

    def _look(self) -> str:
        now = moment()
        met = [
            ban
            for ban in bans.everywhere(self._site)
            if any(is_met(ban, identity, account) for identity, account in self._people)
        ]
        self._begins = min((ban.start for ban in met if ban.state(now) == NOT_YET), default="")
        for ban in met:
            if ban.state(now) == IN_FORCE:
                return f"{BANNED}{ban.pattern}"
        try:
            holder = holders.read(self._site.holders, self._account)
        except Refused:
            return ""
        return f"{BANNED}{holder.because}" if holder.verdict == holders.BANNED else ""


def _state(path: str) -> tuple[int, ...]:
    """What changes with every change of a file."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError as error:
        return (error.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
