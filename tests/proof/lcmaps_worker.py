"""The real LCMAPS, loaded once and asked in a fresh child each time: it keeps its state in globals, and may abort."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from tests.site import lcmaps

DATABASE = Path("/etc/grid-security/lcmaps.db")


def open_library(gridmapdir: Path) -> Callable[[str, tuple[str, ...]], str]:
    """A function from (subject, FQANs) to the account, or nothing, with its leases in `gridmapdir`."""
    own = gridmapdir.parent / f"lcmaps.{os.getpid()}.db"
    own.write_text(DATABASE.read_text().replace("/etc/grid-security/gridmapdir", str(gridmapdir)))
    os.environ |= lcmaps.ENVIRONMENT | {"LCMAPS_DB_FILE": str(own), "LCMAPS_DEBUG_LEVEL": "0"}
    ctypes.CDLL(lcmaps.LIBRARY, mode=ctypes.RTLD_GLOBAL)

    def ask(subject: str, fqans: tuple[str, ...]) -> str:
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                os.write(write_end, lcmaps._ask(subject, list(fqans)).account.encode())
            finally:
                os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as answer:
            account = answer.read()
        os.waitpid(child, 0)
        return account

    return ask
