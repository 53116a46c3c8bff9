"""Remove an account's System V shared memory, message queues and semaphores, as proc_sysvipc(5) lists them.

They outlive every process and hold what the account wrote there.  A child that has become the account removes
them: the kernel lets whoever owns or made one.
"""

from __future__ import annotations

import os

from gridwarden.become import as_account

IPC_RMID = 0  # sys/ipc.h
IDENTIFIERS = {"shm": "shmid", "msg": "msqid", "sem": "semid"}


def listed(uid: int) -> list[tuple[str, int]]:
    """The kind (shm, msg, sem) and id of every object that ``uid`` owns or made, in this IPC namespace."""
    found = []
    for kind, identifier in IDENTIFIERS.items():
        try:
            with open(f"/proc/sysvipc/{kind}", "rb") as table:
                header, *rows = table.read().decode("ascii").splitlines()
        except FileNotFoundError:  # a kernel without System V IPC
            continue
        columns = header.split()
        for row in rows:
            values = dict(zip(columns, row.split(), strict=True))
            if str(uid) in (values["uid"], values["cuid"]):
                found.append((kind, int(values[identifier])))
    return found


def remove(uid: int, gid: int, seconds: float) -> tuple[list[str], list[tuple[str, str]]]:
    """Remove them all: (what was removed, (what is left, why)).  Shared memory that is in use elsewhere is left."""
    before = listed(uid)
    if not before:
        return [], []
    from ctypes import CDLL, c_int, c_void_p  # noqa: PLC0415 - an epilog has no use for it

    calls = CDLL(None)

    def remove_all(_report: int) -> None:
        for kind, number in before:
            if kind == "sem":
                calls.semctl(c_int(number), c_int(0), c_int(IPC_RMID))
            else:
                (calls.shmctl if kind == "shm" else calls.msgctl)(c_int(number), c_int(IPC_RMID), c_void_p(None))

    as_account(uid, gid, [], remove_all, seconds)
    after = listed(uid)
    return (
        [_name(item) for item in before if item not in after],
        [(_name(item), "is in use elsewhere, or cannot be removed") for item in after],
    )


def _name(item: tuple[str, int]) -> str:
    return os.path.join("/proc/sysvipc", item[0], str(item[1]))
