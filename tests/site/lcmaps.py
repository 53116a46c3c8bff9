"""Asks the real LCMAPS for an account: `python3 lcmaps.py DN [FQAN…]` prints `ACCOUNT LEASE_NAME`.

A process of its own for each request: LCMAPS keeps its state in globals and may abort.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from typing import NamedTuple

LIBRARY = "liblcmaps_without_gsi.so.0"
LOG_TO_FILE = 1
ENVIRONMENT = {"LCMAPS_DB_FILE": "/etc/grid-security/lcmaps.db", "LCMAPS_POLICY_NAME": "site"}


class Mapping(NamedTuple):
    """What LCMAPS answered: the account, and the name of its lease in the gridmapdir (empty: no pool account)."""

    account: str
    lease_name: str


class LcmapsRefusedError(Exception):
    """LCMAPS mapped nothing; the message is its log."""


def lcmaps_map(subject: str, fqans: tuple[str, ...] = ()) -> Mapping:
    """Map as a gLExec or GridFTP beside gridwarden would. Raises LcmapsRefusedError."""
    command = [sys.executable, __file__, subject, *fqans]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | ENVIRONMENT)
    if done.returncode != 0:
        raise LcmapsRefusedError(done.stderr)
    account, lease_name = done.stdout.removesuffix("\n").split(" ", 1)
    return Mapping(account, lease_name)


def _ask(subject: str, fqans: list[str]) -> Mapping:
    """One request to the library, see lcmaps_basic.h; the lists it returns stay its own."""
    # Its plugins expect to find its symbols among the process's own.
    library = ctypes.CDLL(LIBRARY, mode=ctypes.RTLD_GLOBAL)
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    log = ctypes.c_void_p(libc.fdopen(2, b"w"))
    if library.lcmaps_init_and_logfile(None, log, ctypes.c_ushort(LOG_TO_FILE)) != 0:
        raise LcmapsRefusedError("lcmaps_init_and_logfile failed")
    uid = ctypes.c_uint()
    groups = [(ctypes.c_void_p(), ctypes.c_int()) for _ in ("primary", "secondary")]
    lease_name = ctypes.c_char_p()
    names = (ctypes.c_char_p * (len(fqans) + 1))(*[fqan.encode() for fqan in fqans], None)
    status = library.lcmaps_run_with_fqans_mapcounter_and_return_account(
        subject.encode(),
        names,
        ctypes.c_int(len(fqans)),
        ctypes.c_int(-1),
        None,
        ctypes.c_int(0),
        None,
        ctypes.byref(uid),
        *[ctypes.byref(value) for pair in groups for value in pair],
        ctypes.byref(lease_name),
    )
    if status != 0:
        raise LcmapsRefusedError("LCMAPS refused")
    return Mapping(pwd.getpwuid(uid.value).pw_name, (lease_name.value or b"").decode())


if __name__ == "__main__":
    try:
        print(*_ask(sys.argv[1], sys.argv[2:]))
    except LcmapsRefusedError as error:
        sys.exit(str(error))
