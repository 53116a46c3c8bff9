"""Whether a process was born meanwhile: what tells that a pass over /proc has missed nobody."""

from __future__ import annotations

ALL_PIDS = 1000  # fewer than any machine has (pid_max less 300), so that no pid comes twice within so many forks


class Births:
    """What tells whether a process was born in this pid namespace since this was made.

    The last pid that was given out (proc_loadavg(5)) stays the same while nobody forks.
    """

    __slots__ = ("_forks", "_last")

    def __init__(self) -> None:
        self._last = _last_pid()
        self._forks = _forks()

    def none_since(self) -> bool:
        """Whether there was none: the last pid is the same, and not because all others were given out meanwhile."""
        return _last_pid() == self._last and _forks() - self._forks < ALL_PIDS


def _last_pid() -> bytes:
    return _read("/proc/loadavg").split()[4]


def _forks() -> int:
    """How many processes and threads the machine has started since boot, in all pid namespaces (proc_stat(5))."""
    return int(_read("/proc/stat").partition(b"\nprocesses ")[2].split()[0])


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
