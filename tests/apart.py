"""Work in a process of its own, and where nobody else sees its mounts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
from collections.abc import Callable

CLONE_NEWNS = 0x20000


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a process of its own; return its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_private_mounts(work: Callable[[], object]) -> None:
    """Run `work` where its mounts are seen by nobody else and end with it."""

    def apart() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        work()

    assert in_child(apart) == 0
