"""Leave root for an account, for good and proven: the only module that changes who a process is."""

from __future__ import annotations

import os
import time

from gridwarden import reasons
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
    enough: Callable[[bytes], bool] = lambda _: False,
) -> tuple[bytes, bool]:
    """Run ``work`` in a child that has become the account, with no supplementary groups but ``groups``.

    ``work`` gets a descriptor to write its report to; the child is killed early once that is ``enough``.
    Returns the report, and whether the child ended well, by itself and in time: the account's other
    processes may stop or kill it, so False is an answer to expect.
    """
    import select  # noqa: PLC0415 - a prolog has no use for it

    deadline = time.monotonic() + seconds
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _child(uid, gid, groups, work, writing)
    os.close(writing)
    ending = os.pidfd_open(child)
    report = b""
    told = ended = False
    poll = select.poll()
    poll.register(reading)
    while not (ended or enough(report)) and (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            continue
        if told:
            ended = True
        elif part := os.read(reading, 65536):
            report += part
        else:
            told = True
            poll.unregister(reading)
            poll.register(ending, select.POLLIN)
    os.close(reading)
    os.close(ending)
    if not ended:
        os.kill(child, 9)  # ours and not reaped yet, so the number is still its own
        time.sleep(0.01)
    # A child that hangs in the kernel is left behind: it keeps the account's lock for as long as it could act.
    pid, status = os.waitpid(child, os.WNOHANG)
    return report, ended and pid == child and status == 0


def _child(uid: int, gid: int, groups: list[int], work: Callable[[int], None], writing: int) -> None:
    try:
        become(uid, gid, groups)
        work(writing)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the parent's code must never run on in the child
        os.write(2, f"gridwarden: as uid {uid}: {error!r}\n".encode("ascii", "backslashreplace"))
        os._exit(1)


def _can_return() -> bool:
    try:
        os.seteuid(0)
    except PermissionError:
        return False
    return True
