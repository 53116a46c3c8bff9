"""A process gives up everything before it reads bytes that an attacker may have written.

docs/credentials.md says what it can do afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource

from gridwarden.become import become
from gridwarden.mapper import kernel_walls
from gridwarden.pools import NOBODY

MEMORY = 512 * 1024 * 1024  # of addresses, not of pages: the interpreter alone maps more than a tenth of it
DESCRIPTORS = 32
STANDARD_ERROR = 2

# <sched.h>, <sys/prctl.h>
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9


_library = ctypes.CDLL(None, use_errno=True)


class _Walls:
    """Whether they stand round this process, and so round its children, who know it from here."""

    standing = False


def confine(processor_seconds: int, *, network: bool = False) -> None:
    """Become nobody (when root), without network (unless told), new processes, files or privileges, for ever.

    Descriptors but 0, 1 and 2 are closed.  What kernel or container do not have (a network namespace, ``kernel_walls``)
    is left out; all the rest must succeed.  An ordinary user's process keeps its uid.  Raises OSError.
    """
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:  # whoever started us may have left some open
        if number > STANDARD_ERROR:
            os.closerange(number, number + 1)
    wall_in(network=network)
    for limit, value in (
        (resource.RLIMIT_CPU, processor_seconds),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)  # no child has its parent's


def wall_in(*, network: bool = False) -> None:
    """The part of ``confine`` that children inherit, once: the uid, no network, no new privileges, the kernel's walls.

    This process ends with its parent from then on.  Raises OSError.
    """
    if _Walls.standing:
        return
    if os.geteuid() == 0:
        if not network:
            _library.unshare(_CLONE_NEWNET)
        become(NOBODY, NOBODY, [])
    for option, argument in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, _SIGKILL)):
        _prctl(option, argument)
    kernel_walls.only_read(_library, network=network)
    if not network:
        kernel_walls.no_sockets(_library)
    _Walls.standing = True


def _prctl(option: int, argument: int) -> None:
    if _library.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
