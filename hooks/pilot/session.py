"""Run a payload as its owner, between a PAM session's opening and its closing, and leave nothing of it behind."""

from __future__ import annotations

import resource

from gridwarden import syslog_line
from gridwarden.errors import Unavailable
from gridwarden.hooks.pilot import ancestors as above
from gridwarden.hooks.pilot import control_group, descendants, limits, pam, privileges, signals, terminal
from gridwarden.hooks.pilot.guard_process import GuardProcess
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.ancestors import Ancestors
    from gridwarden.hooks.pilot.limits import Limits
    from gridwarden.hooks.pilot.work_order import Work
else:  # signal would load enum
    import _signal as signal

LEFT = 4  # in a guard's words: how many processes are left, after status, user, system and memory


class Ended(NamedTuple):
    """How a payload ended.

    ``status`` is a wait status: exit code 126 with a ``because`` where the program could not be executed, 202 where its
    process could not become the account.  ``user`` and ``system`` are microseconds of the payload and all its
    descendants by wait4(2), ``memory`` the bytes of the largest of them; ``group_cpu`` is what the control group counted,
    in microseconds.  ``measured``: "wait4" or "wait4+cpu.stat".  ``because`` says why it was ended, and is empty when it
    ended by itself; ``left`` is how many processes hang in the kernel, killed but not gone.
    """

    status: int
    user: int
    system: int
    memory: int
    group_cpu: int | None
    measured: str
    because: str
    left: int = 0


def prepare(
    service: str,
    caller: str,
    ancestors: Ancestors | None = None,
    kept: Limits | None = None,
    node: Site | None = None,
) -> GuardProcess:
    """The guard of a payload to come, for whom it may be: call it in a process that has one thread.

    It has the modules of PAM's ``service`` loaded, for ``caller``, and waits for ``run``, or for ``abandon``.  ``ancestors``
    are those whose end ends the payload (``ancestors.watch``, to be called as early as can be).  ``kept`` are the payload's
    resource limits, where they have been lifted before.  ``node``, the node file's values, says where the payload's books
    are, for its guard to keep when this process is killed.  From here on the signals that end a process stay blocked, so
    that the end can be recorded.  Raises Refused (pam-service-missing, terminal) and Unavailable.
    """
    signals.take()
    terminal.refuse()
    pam.require_service(service)
    descendants.require()
    before_lifting = limits.lift()
    limits.score_for_oom(limits.NEVER)  # a record of the end is for somebody to write
    try:
        return GuardProcess(service, caller, ancestors or above.watch(), kept or before_lifting, node)
    except OSError as error:
        raise Unavailable(f"the payload's guard cannot be started: {error.strerror}") from error


def run(
    guard: GuardProcess,
    work: Work,
    ready: Callable[[int, str], None],
    meanwhile: Callable[[], None] = lambda: None,
    over: Callable[[Ended], None] = lambda _: None,
    unwanted: Callable[[], str] = lambda: "",
) -> Ended:
    """Run a payload to its end, with the guard that was prepared; call it in a process that has nothing else to do.

    ``ready`` gets the payload's pid and the path of its control group, or "", while its process is held before its
    first instruction; whatever it raises is raised again, and the payload never runs.  ``meanwhile`` is called once while
    PAM opens the session, by another process; ``over``, which must not raise, while that closes it, when nothing of the
    payload runs any more.  ``unwanted`` is called twice a second, and says why the payload is to end, or nothing.  Raises
    Refused (account-session-refused) and Unavailable.
    """
    privileges.adopt_orphans()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    group = control_group.make(work.payload) if work.control_group else None
    ended: Ended | None = None
    try:
        guard.begin(work, group)
    except OSError as error:
        guard.clear()
        control_group.removed(group)
        raise Unavailable(f"the payload's guard cannot be given its work: {error.strerror}") from error
    try:
        meanwhile()
        pid = guard.held()
        group = control_group.entered(group, pid)
        ready(pid, group.path if group else "")
        guard.go()
        told = guard.ended(unwanted)
        if told and told[LEFT] == "0":
            ended = _as_told(told, group.cpu() if group else None)
            over(ended)
        if told:
            guard.closed()
    finally:
        left = guard.clear()
        counted = control_group.removed(group)
    if left:
        detail = f"{left} processes were killed, and hang in the kernel"
        syslog_line.decision("payload-end", "left", job=work.payload, account=work.account, detail=detail)
    if told:
        return (ended or _as_told(told, counted))._replace(left=left)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the guard's own is in it
    return Ended(
        signal.SIGKILL if guard.status is None else guard.status,
        round((used.ru_utime - before.ru_utime) * 1_000_000),
        round((used.ru_stime - before.ru_stime) * 1_000_000),
        used.ru_maxrss * 1024,
        counted,
        _measured(counted),
        "its guard was killed",
        left,
    )


def _as_told(told: list[str], counted: int | None) -> Ended:
    """How the payload ended in its guard's words; ``counted`` is what its control group has."""
    status, user, system, memory, left = map(int, told[: LEFT + 1])
    return Ended(status, user, system, memory, counted, _measured(counted), told[-1], left)


def _measured(counted: int | None) -> str:
    return "wait4" if counted is None else "wait4+cpu.stat"
