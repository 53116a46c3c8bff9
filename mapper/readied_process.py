"""The process of ``gridwarden.mapper.readied``: load the verifiers' code, give up all rights, then fork one for each order.

The first order names the modules to load.  Each other one is the module and arguments of a verifier, with NUL between,
and two descriptors: its source and where its answer goes, which it gets as standard input and output.  So no bytes of a
credential ever reach this process, nor one verifier another's.
"""

from __future__ import annotations

import os
import sys
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC

from gridwarden.mapper import confine, libcrypto  # noqa: F401 - of the latter every verifier has need

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence
    from typing import NoReturn

LONGEST_ORDER = 65536
DESCRIPTOR_BYTES = 4


def serve(orders: socket, maker: int) -> NoReturn:
    """Fork verifiers for the orders that come, until ``maker``, who gives them, has closed the socket or is gone.

    The verifiers end with this process.
    """
    try:
        for module in filter(None, orders.recv(LONGEST_ORDER).decode().split("\0")):
            __import__(module)
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)  # which nobody behind walls can open
        confine.wall_in()
        while os.getppid() == maker:  # who ended before we were to end with it sends no more
            order, passed, _, _ = orders.recvmsg(LONGEST_ORDER, CMSG_SPACE(2 * DESCRIPTOR_BYTES), MSG_CMSG_CLOEXEC)
            if not order:
                break
            source, answer = _descriptors(passed[0][2])
            if os.fork() == 0:
                verify(order.decode("utf-8", "surrogateescape").split("\0"), source, answer, nothing)
            os.close(source)
            os.close(answer)
    finally:
        os._exit(0)


def verify(order: Sequence[str], *standard: int) -> NoReturn:
    """Be the verifier that an order asks for, with these as standard input, output and error."""
    try:
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        module, *sys.argv[1:] = order
        __import__(module, fromlist=["main"]).main()
    finally:
        os._exit(0)


def _descriptors(passed: bytes) -> list[int]:
    places = range(0, len(passed), DESCRIPTOR_BYTES)
    return [int.from_bytes(passed[place : place + DESCRIPTOR_BYTES], sys.byteorder) for place in places]
