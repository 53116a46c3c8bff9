"""Asks the real LCMAPS for accounts: requests on standard input, answers on standard output, both JSON lists.

A process of its own for each question: LCMAPS keeps its state in globals and may abort.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

LIBRARY = "liblcmaps_without_gsi.so.0"
LOG_TO_FILE = 1
NO_SLOT = -1
DN_FORM = "/etc/grid-security/lcmaps.db"
VOMS_FORM = "/etc/grid-security/lcmaps-voms.db"
ENVIRONMENT = {"LCMAPS_DB_FILE": DN_FORM, "LCMAPS_POLICY_NAME": "site", "LCMAPS_DEBUG_LEVEL": "1"}
GRIDMAPDIR = "/etc/grid-security/gridmapdir"


class Mapping(NamedTuple):
    """What LCMAPS answered: the account, and the name of its lease in the gridmapdir (empty: no pool account)."""

    account: str
    lease_name: str


class LcmapsRefusedError(Exception):
    """LCMAPS mapped nothing; the message is its log."""


def lcmaps_map(subject: str, fqans: Sequence[str] = (), database: str = DN_FORM, slot: int = NO_SLOT) -> Mapping:
    """Map as a gLExec or GridFTP beside gridwarden would. Raises LcmapsRefusedError."""
    (answer,), log = ask_all([(subject, fqans, slot)], database)
    if answer is None:
        raise LcmapsRefusedError(log)
    return answer


def lcmaps_names(subjects: Sequence[str], fqans: Sequence[str], database: str = DN_FORM) -> list[str | None]:
    """The lease names that LCMAPS gives to many, None where it refuses; no lease is left."""
    answers, _ = ask_all([(subject, fqans, NO_SLOT) for subject in subjects], database, "--forget")
    return [answer and answer.lease_name for answer in answers]


def ask_all(
    requests: list[tuple[str, Sequence[str], int]], database: str, *options: str
) -> tuple[list[Mapping | None], str]:
    """The answers to (subject, FQANs, slot) requests in one process, and its log."""
    done = subprocess.run(
        [sys.executable, __file__, *options],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
        errors="backslashreplace",
        env=os.environ | ENVIRONMENT | {"LCMAPS_DB_FILE": database},
    )
    if done.returncode != 0:
        raise LcmapsRefusedError(done.stderr)
    return [answer and Mapping(*answer) for answer in json.loads(done.stdout)], done.stderr


class Lcmaps:
    """The library in this process, see lcmaps_basic.h; the lists that it returns stay its own."""

    def __init__(self) -> None:
        # Its plugins expect to find its symbols among the process's own.
        self.library = ctypes.CDLL(LIBRARY, mode=ctypes.RTLD_GLOBAL)
        libc = ctypes.CDLL(None)
        libc.fdopen.restype = ctypes.c_void_p
        log = ctypes.c_void_p(libc.fdopen(2, b"w"))
        if self.library.lcmaps_init_and_logfile(None, log, ctypes.c_ushort(LOG_TO_FILE)) != 0:
            raise LcmapsRefusedError("lcmaps_init_and_logfile failed")

    def uid_and_lease(self, subject: bytes, fqans: Sequence[bytes], slot: int = NO_SLOT) -> tuple[int, bytes] | None:
        """One request: the uid and the lease name, or None when it refuses."""
        uid = ctypes.c_uint()
        groups = [(ctypes.c_void_p(), ctypes.c_int()) for _ in ("primary", "secondary")]
        lease_name = ctypes.c_char_p()
        status = self.library.lcmaps_run_with_fqans_mapcounter_and_return_account(
            subject,
            (ctypes.c_char_p * (len(fqans) + 1))(*fqans, None),
            ctypes.c_int(len(fqans)),
            ctypes.c_int(slot),
            None,
            ctypes.c_int(0),
            None,
            ctypes.byref(uid),
            *[ctypes.byref(value) for pair in groups for value in pair],
            ctypes.byref(lease_name),
        )
        return None if status != 0 else (uid.value, lease_name.value or b"")


def main() -> None:
    """Answer."""
    lcmaps = Lcmaps()
    answers: list[Mapping | None] = []
    for request in json.load(sys.stdin):
        try:
            answers.append(_ask(*request, lcmaps))
        except LcmapsRefusedError:
            answers.append(None)
        else:
            if "--forget" in sys.argv:
                os.unlink(os.path.join(GRIDMAPDIR, answers[-1].lease_name))
    print(json.dumps(answers))


def _ask(subject: str, fqans: Sequence[str], slot: int = NO_SLOT, lcmaps: Lcmaps | None = None) -> Mapping:
    found = (lcmaps or Lcmaps()).uid_and_lease(os.fsencode(subject), [fqan.encode() for fqan in fqans], slot)
    if found is None:
        raise LcmapsRefusedError("LCMAPS refused")
    return Mapping(pwd.getpwuid(found[0]).pw_name, os.fsdecode(found[1]))


if __name__ == "__main__":
    try:
        main()
    except LcmapsRefusedError as error:
        sys.exit(str(error))
