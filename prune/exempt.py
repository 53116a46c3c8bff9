"""The files that processes execute, as far as the site exempts some: looked up where the path is an exempt one."""

from __future__ import annotations

from gridwarden import executables
from gridwarden.prune.signals import key

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gridwarden.executables import File
    from gridwarden.prune.snapshot import Seen


class Executables:
    """The files that processes execute, for those whose executable has one of ``paths``; asked once for each."""

    def __init__(self, paths: Container[str]) -> None:
        self._paths = paths
        self._told: dict[tuple[int, int], File] = {}

    def enter(self, seen: Iterable[Seen]) -> None:
        """Set ``file`` of these processes, UNTOLD where the file system does not answer.

        What is in a user namespace of its own can choose what exe shows, so it has none.
        """
        # "(deleted)" is behind it also when a file system has failed, and it is the file that counts.
        shown = [(one.executable.removesuffix(" (deleted)"), one) for one in seen if not one.apart]
        found = [(path, one) for path, one in shown if path in self._paths]
        new = [(path, one.process) for path, one in found if key(one.process) not in self._told]
        for (_, process), file in zip(new, executables.of_processes(new), strict=True):
            self._told[key(process)] = file
        for _, one in found:
            one.file = self._told[key(one.process)]
