"""What the kernel can forbid a process for ever, beyond limits and uids: Landlock (landlock(7)), a filter of system calls.

Both are taken where the kernel has them; neither can fail half-way, or be undone.
"""

from __future__ import annotations

import ctypes
import os
import struct

# <linux/landlock.h>; the numbers of its system calls are the same on every architecture.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_ASK_VERSION = 1
_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # of each version of Landlock: how many bits of rights on files it knows
_NETWORK, _SCOPES = 4, 6  # the versions with rights on TCP ports; with walls round abstract sockets and signals

# <linux/seccomp.h>, <linux/filter.h>, <linux/audit.h>
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # the latter: EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # where they stand in seccomp_data
# Of each machine its architecture, and the numbers of socket, unshare and io_uring_setup (which makes sockets, too).
_CALLS = {"x86_64": (0xC000003E, (41, 272, 425)), "aarch64": (0xC00000B7, (198, 97, 425))}
_OTHER_NUMBERS = 0x40000000  # x86_64's second table of system calls


def only_read(library: ctypes.CDLL, *, network: bool) -> None:
    """Forbid changing, making and removing files, starting programs, and signals to others; TCP unless ``network``.

    Signals, and sockets with abstract names, from Linux 6.12 on, TCP from 6.7; nothing at all before 5.13 or where Landlock
    is not switched on.  ``PR_SET_NO_NEW_PRIVS`` must have been set.  Raises OSError.
    """
    version = library.syscall(_CREATE_RULESET, None, ctypes.c_ulong(0), ctypes.c_ulong(_ASK_VERSION))
    if version < 1:
        return
    rights = (1 << max(bits for first, bits in _FILE_RIGHTS.items() if first <= version)) - 1
    handled = [rights & ~(_READ_FILE | _READ_DIRECTORY)]
    if version >= _NETWORK:
        handled.append(0 if network else 0b11)
    if version >= _SCOPES:
        handled.append(0b11)
    ruleset = struct.pack(f"={len(handled)}Q", *handled)
    descriptor = library.syscall(_CREATE_RULESET, ruleset, ctypes.c_ulong(len(ruleset)), ctypes.c_ulong(0))
    if descriptor < 0 or library.syscall(_RESTRICT_SELF, descriptor, ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), "landlock")
    os.close(descriptor)


def no_sockets(library: ctypes.CDLL) -> None:
    """Forbid new sockets of any kind and new namespaces, on x86_64 and aarch64.

    ``PR_SET_NO_NEW_PRIVS`` must have been set.
    """
    known = _CALLS.get(os.uname().machine)
    if known is None or ctypes.sizeof(ctypes.c_void_p) != struct.calcsize("=Q"):
        return
    architecture, numbers = known
    to_refuse = len(numbers) + 1
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, to_refuse + 2, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, to_refuse, 0, _OTHER_NUMBERS),
        *((_EQUAL, to_refuse - 1 - place, 0, number) for place, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    library.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), header, 0, 0)
