"""Those above a payload whose end ends it, and whose stop stops it: the launcher, sudo, and the pilot that called sudo."""

from __future__ import annotations

import os
import select

from gridwarden import proc

SUDO = "sudo"
LAUNCHER = "the launcher"


class Ancestor:
    """A process that is watched: what messages call it, where it is in /proc, and what tells its end."""

    __slots__ = ("directory", "end", "name")

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.directory = proc.open_directory(pid)
        self.end = os.pidfd_open(pid)


class Ancestors:
    """The ancestors of a payload, nearest first; children of the process that watches inherit the watch."""

    __slots__ = ("_ancestors", "_lost")

    def __init__(self, ancestors: list[Ancestor], lost: str = "") -> None:
        self._ancestors = ancestors
        self._lost = lost

    def gone(self) -> str:
        """Which of them has ended, "" for none."""
        if self._lost:
            return self._lost
        poll = select.poll()
        for ancestor in self._ancestors:
            poll.register(ancestor.end, select.POLLIN)
        ended = {descriptor for descriptor, _ in poll.poll(0)}
        return next((ancestor.name for ancestor in self._ancestors if ancestor.end in ended), "")

    def are_stopped(self) -> bool:
        """Whether one of them has been stopped (SIGSTOP, SIGTSTP)."""
        found = (proc.read_below(ancestor.directory) for ancestor in self._ancestors)
        return any(process is not None and process.state == "T" for process in found)


def watch() -> Ancestors:
    """Watch this process, its parent, and its parent's parent if the parent is sudo; raises OSError.

    Call it first of all: who has ended before is not missed, since a process that lost its parent gets another, and no
    descriptor comes in place of a standard one that is closed.
    """
    _open_standard_streams()
    ancestors = [Ancestor(LAUNCHER, os.getpid())]
    try:
        parent = os.getppid()
        above = Ancestor("the pilot", parent)
        if proc.executable_below(above.directory).rpartition("/")[2] == SUDO:
            above.name = SUDO
            pilot = _parent_of(above)
            ancestors += [above, Ancestor("the pilot", pilot)] if pilot else [above]
            lost = "the pilot" if _parent_of(above) != pilot else ""
        elif parent:
            ancestors.append(above)
            lost = ""
    except (FileNotFoundError, ProcessLookupError):
        return Ancestors(ancestors, "the pilot")
    return Ancestors(ancestors, lost or ("" if os.getppid() == parent else SUDO))


def _parent_of(ancestor: Ancestor) -> int:
    process = proc.read_below(ancestor.directory)
    if process is None:
        raise ProcessLookupError
    return process.parent


def _open_standard_streams() -> None:
    """Open /dev/null for each of the standard three that is closed: the payload would get what we open next."""
    for standard in range(3):
        try:
            os.fstat(standard)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - has no other way
