"""Empty an account on this machine before somebody else gets it.

Processes first, since they could make anything again; then what could start some (cron, at, linger), what
outlives them (System V and POSIX IPC, scratch), and the home.  The caller holds the account's lock and knows
that no job of the account is here.
"""

from __future__ import annotations

from gridwarden.prune import home, ipc, kill, remove, spools
from gridwarden.prune.files import POSIX_IPC
from gridwarden.prune.lent import Lent, LentTo
from gridwarden.prune.signals import Uids

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden import proc
    from gridwarden.prune.trace import CommandLines

KILL_SECONDS = 10.0
SPOOL_SECONDS = 20.0
REMOVE_SECONDS = 60.0
HOME_SECONDS = 600.0
ROUNDS = 4


class Emptied:
    """What was killed and removed, and what is left, each with why."""

    __slots__ = ("command_lines", "killed", "left", "removed")

    def __init__(self) -> None:
        self.killed: list[proc.Process] = []
        self.command_lines: CommandLines = {}
        self.removed: list[str] = []
        self.left: list[tuple[str, str]] = []

    def add(self, outcome: tuple[list[str], list[tuple[str, str]]]) -> None:
        """Add what one step removed and left."""
        removed, left = outcome
        self.removed += removed
        self.left += left


def empty(account: str, uid: int, gid: int, scratch: list[str], home_directory: str, skeleton: str) -> Emptied:
    """Leave nothing of ``account`` here that could act or be read.

    ``home_directory`` is rebuilt from ``skeleton``, unless it is empty.  All is done again until a round finds
    nothing to do: what cron or a login started during the first may have made anything anew.
    """
    done = Emptied()
    for _ in range(ROUNDS):
        before = len(done.killed) + len(done.removed)
        done.left = []
        _empty_once(done, account, uid, gid, scratch)
        if home_directory:
            done.add(home.rebuild(home_directory, uid, gid, skeleton, HOME_SECONDS))
        if len(done.killed) + len(done.removed) == before:
            return done
    done.left.append((account, "something of it keeps coming back"))
    return done


def _empty_once(done: Emptied, account: str, uid: int, gid: int, scratch: list[str]) -> None:
    processes = kill.empty_account(Uids(uid, LentTo(Lent(), account, uid)), gid, KILL_SECONDS)
    done.killed += processes.killed.values()
    done.command_lines |= processes.command_lines
    done.left += processes.left
    done.add(spools.remove(account, uid, SPOOL_SECONDS))
    done.add(ipc.remove(uid, gid, KILL_SECONDS))
    places = dict.fromkeys([*scratch, *POSIX_IPC, f"/run/user/{uid}"])
    done.add(remove.sweep(uid, gid, list(places), REMOVE_SECONDS))
