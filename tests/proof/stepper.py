"""Runs work in a process that is killed at its nth system call, with ptrace(2): SIGKILL, no clean-up, no handlers."""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
MARK_SYSCALL_STOPS, KILL_WITH_TRACER = 1, 1 << 20
SYSCALL_STOP = signal.SIGTRAP | 0x80

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Run `work` and kill it as it begins its system call number `call`, from 0; False when it ended before.

    A system call at whose beginning a process is killed does nothing, so this is also the kill right after the
    call before.  Raises AssertionError when `work` fails of itself, or when it cannot be traced.
    """
    child = traced_child(work)
    stops, passed_on = 0, 0
    while True:
        trace(SYSCALL, child, 0, passed_on)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            assert status == 0, f"the work failed: {status:#x}"
            return False
        passed_on = 0
        if os.WSTOPSIG(status) != SYSCALL_STOP:
            passed_on = os.WSTOPSIG(status)
            continue
        if stops == 2 * call:  # each call stops twice: as it begins, and when it is done
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        stops += 1


def traced_child(work: Callable[[], object]) -> int:
    """Start a process that does `work` and ends with 0, or 1 when that failed; it stands still until its tracer lets it go on."""
    child = os.fork()
    if not child:
        _be_traced(work)
    _, status = os.waitpid(child, 0)
    assert os.WIFSTOPPED(status), f"cannot be traced: {status:#x}"
    trace(SETOPTIONS, child, 0, MARK_SYSCALL_STOPS | KILL_WITH_TRACER)
    return child


def _be_traced(work: Callable[[], object]) -> None:
    try:
        trace(TRACEME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
    except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def trace(request: int, process: int, address: int, data: int) -> None:
    """ptrace(2); raises OSError."""
    if libc.ptrace(request, process, address, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")
