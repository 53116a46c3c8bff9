"""Pass a message with open descriptors to another process (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import sys
from _socket import AF_UNIX, CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socketpair

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from _socket import socket  # that of socket loads enum

LONGEST = 65536
MOST = 8
_BYTES = 4  # of a descriptor


def pair() -> tuple[socket, socket]:
    """Two ends, each of which hears of the other's end."""
    return socketpair(AF_UNIX, SOCK_SEQPACKET)


def send(end: socket, message: bytes, *descriptors: int) -> None:
    """Send a message, not empty, of at most ``LONGEST`` bytes; raises OSError."""
    passed = b"".join(each.to_bytes(_BYTES, sys.byteorder) for each in descriptors)
    end.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, passed)] if passed else [])


def receive(end: socket) -> tuple[bytes, list[int]]:
    """The next message and its descriptors, which are the receiver's own; b"" when no other will come.  Raises OSError."""
    message, passed, _, _ = end.recvmsg(LONGEST, CMSG_SPACE(MOST * _BYTES), MSG_CMSG_CLOEXEC)
    data = passed[0][2] if passed else b""
    places = range(0, len(data), _BYTES)
    return message, [int.from_bytes(data[place : place + _BYTES], sys.byteorder) for place in places]
