"""The process of ``gridwarden.mapper.readied``: load the verifiers' code, then fork one for each order.

An order is a line: module and arguments of the verifier, with NUL between.  The verifier gets the next two descriptors,
its source and where its answer goes, as standard input and output, and gives up all rights before it reads
(``mapper.confine``), as ever; so no bytes of a credential ever reach this process, nor one verifier another's.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

LONGEST_ORDERS = 65536


def serve(orders: int, pairs: Sequence[tuple[int, int]], modules: Sequence[str]) -> NoReturn:
    """Fork verifiers for the orders that come, until whoever gives them has closed the pipe or is gone.

    The verifiers end with this process.  ``pairs`` are a descriptor of a credential's source and one for the answer, for
    each that may come.
    """
    try:
        for module in modules:
            __import__(module)
        left, part = list(pairs), b""
        while read := os.read(orders, LONGEST_ORDERS):
            *whole, part = (part + read).split(b"\n")
            for order in whole:
                source, answer = left.pop(0)
                if os.fork() == 0:
                    verify(order.decode("utf-8", "surrogateescape").split("\0"), source, answer)
                os.close(source)
                os.close(answer)
    finally:
        os._exit(0)


def verify(order: Sequence[str], source: int, answer: int) -> NoReturn:
    """Be the verifier that an order asks for."""
    try:
        os.dup2(source, 0)
        os.dup2(answer, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        module, *sys.argv[1:] = order
        __import__(module, fromlist=["main"]).main()
    finally:
        os._exit(0)
