"""Closes connections in a child, since what senders have left in them may keep waiting who closes it.

With a message anybody may send open files (SCM_RIGHTS of unix(7)) and close their own; who drops the message then closes
them for good.  That lasts as long as the sender likes for a TCP socket with SO_LINGER, and for ever on a dead file server.
A process that exits does not linger.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from _socket import socket

AT_ONCE = 256
MOST_CHILDREN = 16  # that hang


class Closing:
    """Connections that nobody reads any more, until ``go`` closes them."""

    def __init__(self) -> None:
        self._waiting: list[socket] = []
        self._children: list[int] = []

    def add(self, connection: socket) -> None:
        """Close this one soon."""
        self._waiting.append(connection)
        if len(self._waiting) >= AT_ONCE:
            self.go()

    def go(self) -> None:
        """Leave those that wait to a child, which has them alone then; where there can be none they wait on."""
        self._children = [child for child in self._children if not os.waitpid(child, os.WNOHANG)[0]]
        if not self._waiting or len(self._children) >= MOST_CHILDREN:
            return
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            child = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return
        if child == 0:
            _exit_with({reading, *(each.fileno() for each in self._waiting)}, reading)
        self._children.append(child)
        for each in self._waiting:
            each.close()
        self._waiting.clear()
        os.close(reading)
        os.close(writing)


def _exit_with(kept: set[int], reading: int) -> None:
    """In the child: keep these descriptors alone, and exit once the parent has closed its own."""
    try:
        begin = 0
        for descriptor in sorted(kept):
            os.closerange(begin, descriptor)
            begin = descriptor + 1
        os.closerange(begin, os.sysconf("SC_OPEN_MAX"))
        os.read(reading, 1)
    finally:
        os._exit(0)
