"""Lend the pilot's working directory to its payload, where the site wants that: noted first, then handed over."""

from __future__ import annotations

import os
import pwd

from gridwarden import child, reasons
from gridwarden.errors import Refused, Unavailable
from gridwarden.prune.change_owner import Giving, change_owner
from gridwarden.prune.payload_end import give_back_open
from gridwarden.tab_file import escape

TYPE_CHECKING = False  # typing's own costs a launch 6 ms
if TYPE_CHECKING:
    from gridwarden.payload_state import State
    from gridwarden.prune.files import Left

HAND_OVER_SECONDS = 30.0
HOME_SECONDS = 2.0


def noted(state: State, directory: int) -> State:
    """The state with the open ``directory`` as what the payload will be lent.

    Raises Refused (directory-others) where it is not the pilot's own, is its home or leads to that.
    """
    status = os.fstat(directory)
    path = os.readlink(f"/proc/self/fd/{directory}")
    if status.st_uid != state.pilot_uid:
        raise Refused(reasons.DIRECTORY_OTHERS, f"{escape(path)}: belongs to uid {status.st_uid}, not to {state.pilot}")
    pilot = pwd.getpwuid(state.pilot_uid)
    way = child.ask(lambda: _way_to(pilot.pw_dir), HOME_SECONDS)
    if way is None:
        raise Unavailable(f"{escape(pilot.pw_dir)}: does not answer, so nothing of {state.pilot} is handed over")
    if f"{status.st_dev}:{status.st_ino}" in way.split():
        raise Refused(
            reasons.DIRECTORY_OTHERS,
            f"{escape(path)}: is the home of {state.pilot}, which is not handed over",
            "start the payload in a directory of its own",
        )
    return state.but(scratch=path, scratch_device=status.st_dev, scratch_inode=status.st_ino, scratch_gid=pilot.pw_gid)


def hand_over(state: State, directory: int) -> Left:
    """Give the directory, which the state file notes, and what the pilot owns below it to the payload's account.

    What is left as it is comes back, each with why.  Raises Unavailable when not everything was reached in time; it
    has been given back then, as far as that went.
    """
    giving = Giving(state.pilot_uid, state.uid, state.gid, HAND_OVER_SECONDS, directory_last=False)
    left = change_owner(directory, giving)
    unreached = next((why for path, why in left if path == "."), "")
    if unreached:
        give_back_open(directory, state)
        raise Unavailable(f"{escape(state.scratch)}: could not be handed over to {state.account}: {unreached}")
    return left


def _way_to(home: str) -> str:
    """Device and inode of a home and of each directory above it."""
    found = []
    path = os.path.realpath(home)
    while True:
        if os.path.exists(path):
            status = os.stat(path)
            found.append(f"{status.st_dev}:{status.st_ino}")
        if path == "/":
            return " ".join(found)
        path = os.path.dirname(path)
