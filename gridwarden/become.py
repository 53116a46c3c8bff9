"""Leave root for an account, for good and proven: the only module that changes who a process is."""

from __future__ import annotations

import os

from gridwarden import child, reasons
from gridwarden.errors import Refused

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Make this process the account's, with no way back; raises Refused or OSError.

    Call it in a child: a process in which it failed half-way must end.
    """
    if uid < 1 or gid < 1 or min(groups, default=gid) < 1:
        raise Refused(reasons.ACCOUNT_PRIVILEGED, f"uid {uid}, gid {gid} and groups {groups} are not a user's")
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    now = (os.getresuid(), os.getresgid(), set(os.getgroups()))
    if now != ((uid,) * 3, (gid,) * 3, set(groups)) or _can_return():
        raise Refused(reasons.ACCOUNT_PRIVILEGED, f"this process did not become uid {uid}: it is {now}")


def as_account(
    uid: int,
    gid: int,
    groups: list[int],
    work: Callable[[int], None],
    seconds: float,
    enough: Callable[[bytes | bytearray], bool] = lambda _: False,
) -> tuple[bytes, bool]:
    """Run ``work`` in a child that has become the account, with no supplementary groups but ``groups``.

    ``work`` gets a descriptor to write its report to; the child is killed early once that is ``enough``.
    Returns the report, and whether the child ended well, by itself and in time: the account's other
    processes may stop or kill it, so False is an answer to expect.
    """

    def become_first(report: int) -> None:
        become(uid, gid, groups)
        work(report)

    return child.run(become_first, seconds, enough)


def _can_return() -> bool:
    try:
        os.seteuid(0)
    except PermissionError:
        return False
    return True
