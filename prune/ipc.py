"""Remove an account's System V shared memory, message queues and semaphores, as proc_sysvipc(5) lists them.

They outlive every process and hold what the account wrote there.  A child that has become the account removes
them: the kernel lets whoever owns or made one.
"""

from __future__ import annotations

import os

from gridwarden.become import as_account

IPC_RMID = 0  # sys/ipc.h
IDENTIFIERS = {"shm": "shmid", "msg": "msqid", "sem": "semid"}


class Segment:
    """One object: its kind (shm, msg, sem), its id, the uids of its owner and its maker, when it was last used.

    ``used`` is in seconds since the epoch.
    """

    __slots__ = ("kind", "number", "uids", "used")

    def __init__(self, kind: str, number: int, uids: frozenset[int], used: int) -> None:
        self.kind = kind
        self.number = number
        self.uids = uids
        self.used = used

    def name(self) -> str:
        """What messages and records call it."""
        return os.path.join("/proc/sysvipc", self.kind, str(self.number))


def everything() -> list[Segment]:
    """All objects of this IPC namespace."""
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
            used = max(int(value) for column, value in values.items() if column.endswith("time"))
            uids = frozenset((int(values["uid"]), int(values["cuid"])))
            found.append(Segment(kind, int(values[identifier]), uids, used))
    return found


def remove(
    uid: int, gid: int, seconds: float, *, before: float | None = None, dry_run: bool = False
) -> tuple[list[str], list[tuple[str, str]]]:
    """Remove what ``uid`` owns or made: (what was removed, (what is left, why)).

    Shared memory that is in use elsewhere is left.  ``before``, in seconds since the epoch: what was used since
    then stays and is in neither list.
    """

    def own() -> list[Segment]:
        return [one for one in everything() if uid in one.uids and (before is None or one.used < before)]

    wanted = own()
    if not wanted or dry_run:
        return [one.name() for one in wanted], []
    from ctypes import CDLL, c_int, c_void_p  # noqa: PLC0415 - an epilog has no use for it

    calls = CDLL(None)

    def remove_all(_report: int) -> None:
        for kind, number in [(one.kind, one.number) for one in wanted]:
            if kind == "sem":
                calls.semctl(c_int(number), c_int(0), c_int(IPC_RMID))
            else:
                (calls.shmctl if kind == "shm" else calls.msgctl)(c_int(number), c_int(IPC_RMID), c_void_p(None))

    as_account(uid, gid, [], remove_all, seconds)
    after = {one.name() for one in own()}
    return (
        [one.name() for one in wanted if one.name() not in after],
        [(one.name(), "is in use elsewhere, or cannot be removed") for one in wanted if one.name() in after],
    )
