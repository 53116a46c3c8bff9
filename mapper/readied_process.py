"""The process of ``gridwarden.mapper.readied``: load the verifiers' code, give up all rights, then fork one for each order.

The first order is ``load`` and the modules to load.  Each other one is the module and arguments of a verifier, with NUL between,
and two descriptors: its source and where its answer goes, which it gets as standard input and output.  So no bytes of a
credential ever reach this process, nor one verifier another's.
"""

from __future__ import annotations

import os
import sys

from gridwarden import passing
from gridwarden.mapper import confine, libcrypto

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence
    from typing import NoReturn

FAILED = b"failed\n"  # no answer that can be understood


def serve(orders: socket, maker: int) -> NoReturn:
    """Fork verifiers for the orders that come, until ``maker``, who gives them, has closed the socket or is gone.

    The verifiers end with this process.
    """
    try:
        for module in passing.receive(orders)[0].decode().split("\0")[1:]:
            __import__(module)
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)  # which nobody behind walls can open
        confine.wall_in()
        libcrypto.warm_up()
        while os.getppid() == maker:  # who ended before we were to end with it sends no more
            order, passed = passing.receive(orders)
            if not order:
                break
            source, answer = passed
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
        try:
            __import__(module, fromlist=["main"]).main()
            os.close(1)  # who waits for the end of the answer need not wait for that of this process
        except Exception:  # noqa: BLE001 - nobody sees our exit code, and who says nothing at all has been killed
            os.write(1, FAILED)
    finally:
        os._exit(0)
