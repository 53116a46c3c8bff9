"""What a process may do beyond its uid: capability sets (capabilities(7)), no-new-privileges, whose end is whose (prctl(2))."""

from __future__ import annotations

import ctypes
import os

SET_PDEATHSIG, SET_KEEPCAPS, CAPBSET_READ, CAPBSET_DROP = 1, 8, 23, 24
SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS, CAP_AMBIENT = 36, 38, 47
AMBIENT_RAISE, AMBIENT_CLEAR_ALL = 2, 4
VERSION_3 = 0x20080522  # of the structures of capset(2)
MOST_CAPABILITIES = 64

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own; raises OSError."""
    _prctl(SET_CHILD_SUBREAPER, 1)


def end_with_parent(signal: int) -> None:
    """Have ``signal`` sent to this process when its parent ends; a change of uid undoes it.  Raises OSError."""
    _prctl(SET_PDEATHSIG, signal)


def forgo_new_privileges() -> None:
    """Let no program that is executed from now on give more rights, set-uid ones included; raises OSError."""
    _prctl(SET_NO_NEW_PRIVS, 1)


def forgo_capabilities(kept: int) -> None:
    """Drop all but the set ``kept`` from what programs can give, and keep that over a change of uid; raises OSError."""
    for capability in range(MOST_CAPABILITIES):
        if not _exists(capability):
            break
        if not kept >> capability & 1:
            _prctl(CAPBSET_DROP, capability)
    _prctl(CAP_AMBIENT, AMBIENT_CLEAR_ALL)
    _prctl(SET_KEEPCAPS, int(kept != 0))


def hold_capabilities(kept: int) -> None:
    """Have exactly the set ``kept``, in programs that are executed too; raises OSError."""
    sets = (_Sets * 2)()
    for place, part in enumerate(sets):
        part.effective = part.permitted = part.inheritable = kept >> 32 * place & 0xFFFFFFFF
    header = _Header(VERSION_3, 0)
    if _libc.capset(ctypes.byref(header), sets) != 0:
        raise _error("capset")
    for capability in range(MOST_CAPABILITIES):
        if kept >> capability & 1:
            _prctl(CAP_AMBIENT, AMBIENT_RAISE, capability)


def clear_inheritable() -> None:
    """Drop what the caller had made inheritable, so that what is so afterwards is PAM's doing; raises OSError."""
    sets = (_Sets * 2)()
    header = _Header(VERSION_3, 0)
    if _libc.capget(ctypes.byref(header), sets) != 0:
        raise _error("capget")
    for part in sets:
        part.inheritable = 0
    if _libc.capset(ctypes.byref(header), sets) != 0:
        raise _error("capset")


def status() -> dict[str, str]:
    """What the kernel says of this process, CapInh, CapPrm, CapEff, CapBnd, CapAmb and NoNewPrivs (proc_pid_status(5))."""
    with open("/proc/self/status", encoding="utf-8", errors="surrogateescape") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs if name.startswith(("Cap", "NoNewPrivs"))}


def inheritable() -> int:
    """The inheritable set of this process."""
    return int(status()["CapInh"], 16)


def _exists(capability: int) -> bool:
    return bool(_libc.prctl(CAPBSET_READ, capability, 0, 0, 0) >= 0)


def _prctl(what: int, *values: int) -> None:
    padded = [*values, 0, 0, 0][:4]
    if _libc.prctl(what, *padded, *[0] * (4 - len(padded))) < 0:
        raise _error(f"prctl {what}")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
