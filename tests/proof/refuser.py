"""Runs work in a process some of whose system calls fail, with ptrace(2): a full disk, a dead one, a lost server."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable

from gridwarden.errors import GridwardenError
from tests.proof.stepper import SYSCALL, SYSCALL_STOP, libc, trace, traced_child

NUMBER, ANSWER, FLAGS = 15 * 8, 10 * 8, 12 * 8  # orig_rax, rax and rdx in struct user of x86_64, sys/user.h
PEEK, POKE = 3, 6
WRITING = {
    "write": 1, "pwrite64": 18, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "fchmod": 91, "fchown": 93, "mkdirat": 258,
    "unlinkat": 263, "renameat": 264, "linkat": 265, "utimensat": 280, "syncfs": 306, "renameat2": 316, "mkdir": 83,
    "rename": 82, "link": 86, "unlink": 87,
}  # fmt: skip
LOOKING = {
    "read": 0, "pread64": 17, "fstat": 5, "flock": 73, "fstatfs": 138, "getdents64": 217, "openat": 257, "newfstatat": 262,
}  # fmt: skip
DONE, BROKEN, REFUSED = 0, 1, 3


def ends(work: Callable[[], object], error: int, first: int, *, lasting: bool, writing_only: bool) -> tuple[int, int]:
    """Run `work` while its file system's call number `first`, or each from there on, answers `error` and does nothing.

    Returns how it ended (DONE, REFUSED by an error of gridwarden's, BROKEN), and how many calls failed.
    """
    assert platform.machine() == "x86_64", "the numbers of system calls here are those of x86_64"

    def refused_or_not() -> None:
        try:
            work()
        except GridwardenError:
            os._exit(REFUSED)

    child = traced_child(refused_or_not)
    calls, failed, entering, failing, passed_on = 0, 0, True, False, 0
    failing_numbers = set(WRITING.values()) | (set() if writing_only else set(LOOKING.values()))
    while True:
        trace(SYSCALL, child, 0, passed_on)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status), failed
        passed_on = 0
        if os.WSTOPSIG(status) != SYSCALL_STOP:
            passed_on = os.WSTOPSIG(status)
            continue
        if entering:
            number = libc.ptrace(PEEK, child, NUMBER, None)
            creating = number == LOOKING["openat"] and libc.ptrace(PEEK, child, FLAGS, None) & os.O_CREAT
            if number in failing_numbers or creating:
                failing = calls == first or (lasting and calls > first)
                calls += 1
            if failing:
                failed += 1
                trace(POKE, child, NUMBER, 2**64 - 1)
        elif failing:
            failing = False
            trace(POKE, child, ANSWER, 2**64 - error)
        entering = not entering
