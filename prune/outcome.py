"""What a step of killing did: whom it signalled, what they were, and who is left."""

from __future__ import annotations

from gridwarden.prune import trace
from gridwarden.prune.signals import key, why_left

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.proc import Process
    from gridwarden.prune.signals import Key

COMMAND_LINE_SECONDS = 2.0


class Outcome:
    """Processes by pid and start time: ``killed`` (stopped, on hold), with their command lines without secrets.

    ``signals``: the last one that was sent to each.  ``left``: (what, why) of each that is still there.  ``unseen``:
    whether there may have been more, which no scan saw and a signal to all of the account ended.  In a dry run
    ``killed`` are those that would have been.
    """

    __slots__ = ("command_lines", "killed", "left", "signals", "unseen")

    def __init__(self) -> None:
        self.killed: dict[Key, Process] = {}
        self.signals: dict[Key, int] = {}
        self.left: list[tuple[str, str]] = []
        self.unseen = False
        self.command_lines: trace.CommandLines = {}

    def remember(self, processes: Iterable[Process]) -> None:
        """Enter processes that are about to be signalled, each once and as it was then."""
        new = [process for process in processes if key(process) not in self.killed]
        if not new:
            return
        self.killed |= {key(process): process for process in new}
        try:
            self.command_lines |= trace.command_lines(new, COMMAND_LINE_SECONDS)
        except BlockingIOError:
            pass  # a fork bomb has taken every pid: ending it does not wait for what it was called

    def keep(self, signals: dict[Key, int]) -> None:
        """Take those for killed that one of these signals has reached; the others ended by themselves."""
        self.killed = {name: process for name, process in self.killed.items() if name in signals}
        self.signals = {name: signals[name] for name in self.killed}

    def leave(self, processes: Iterable[Process]) -> None:
        """Enter processes that are still there as left, and not as killed."""
        for process in processes:
            self.killed.pop(key(process), None)
            self.left.append((f"process {process.pid} ({process.command})", why_left(process)))
