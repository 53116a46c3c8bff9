"""Leave root for an account, for good and proven: the only module that changes who a process is."""

from __future__ import annotations

import os

from gridwarden import child, reasons
from gridwarden.errors import Refused

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SET_PDEATHSIG, SIGKILL = 1, 9  # of prctl(2)


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


class Within:
    """Reach with an account's rights, and no further, what it names (``with`` statement), and be root again.

    Real and saved uid stay root's, so that the account can neither signal nor trace this process meanwhile.  Raises
    OSError.
    """

    __slots__ = ("_account", "_groups")

    def __init__(self, uid: int, gid: int, groups: Sequence[int]) -> None:
        self._account = uid, gid, list(groups)
        self._groups: list[int] = []

    def __enter__(self) -> None:
        uid, gid, groups = self._account
        self._groups = os.getgroups()
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)

    def __exit__(self, *_: object) -> None:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(self._groups)


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
    processes may stop or kill it, so False is an answer to expect.  It does not outlive this process, whose locks it has.
    """
    parent = os.getpid()

    def become_first(report: int) -> None:
        from _ctypes import call_function, dlopen, dlsym  # noqa: PLC0415 - ctypes around it would cost 7 ms

        prctl = dlsym(dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]  # None: this program itself
        become(uid, gid, groups)
        call_function(prctl, (SET_PDEATHSIG, SIGKILL, 0, 0, 0))  # not before: a change of uid undoes it
        if os.getppid() != parent:
            os._exit(1)
        work(report)

    return child.run(become_first, seconds, enough)


def _can_return() -> bool:
    try:
        os.seteuid(0)
    except PermissionError:
        return False
    return True
