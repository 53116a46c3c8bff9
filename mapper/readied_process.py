"""The process of ``gridwarden.mapper.readied``: load the verifiers' code, then fork one for each order.

Arguments: the modules to load, and for each credential to come a descriptor of its source and one for the answer.  An
order is a line on standard input: module and arguments of the verifier, with NUL between.  The verifier gets the next two
descriptors as its standard input and output, and gives up all rights before it reads (``mapper.confine``), as ever; so
no bytes of a credential ever reach this process.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

LONGEST_ORDERS = 65536


def main() -> NoReturn:
    """Fork verifiers until there are no more orders, and wait for them: they end with this process."""
    modules, *pairs = sys.argv[2:]
    for module in modules.split(","):
        import_module(module)
    part = b""
    while pairs and (read := os.read(0, LONGEST_ORDERS)):
        *orders, part = (part + read).split(b"\n")
        for order in orders:
            source, answer = map(int, pairs.pop(0).split("-"))
            if os.fork() == 0:
                verify(order.decode("utf-8", "surrogateescape").split("\0"), source, answer)
            os.close(source)
            os.close(answer)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            os._exit(0)


def verify(order: list[str], source: int, answer: int) -> NoReturn:
    """Be the verifier that an order asks for."""
    try:
        os.dup2(source, 0)
        os.dup2(answer, 1)
        module, *sys.argv[1:] = order
        import_module(module).main()
    finally:
        os._exit(0)
