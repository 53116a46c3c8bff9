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
else:  # signal would load enum
    import _signal as signal


class Work(NamedTuple):
    """A payload, with all that is needed to run it.

    ``groups`` are its supplementary groups, those that track it included.  ``service`` is that of PAM, to which
    ``caller`` is the remote user.  ``program`` and ``directory`` are descriptors, opened and judged; ``arguments`` is the
    whole argv.  A ``script`` is executed by its ``path``, so that it can find itself, and anything else by descriptor.
    PAM's variables are added to ``environment``.  ``capabilities``: "none", or "pam" for those that PAM makes
    inheritable.  ``payload`` is its id.
    """

    account: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    service: str
    caller: str
    program: int
    path: bytes
    arguments: tuple[bytes, ...]
    directory: int
    environment: dict[bytes, bytes]
    no_new_privileges: bool
    capabilities: str
    control_group: bool
    grace_seconds: float
    same_account: bool
    payload: str
    script: bool = False


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


def run(
    work: Work,
    ready: Callable[[int, str], None],
    ancestors: Ancestors | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    kept: Limits | None = None,
    node: Site | None = None,
    unwanted: Callable[[], str] = lambda: "",
) -> Ended:
    """Run a payload to its end; call it in a process that has one thread and nothing else to do.

    ``ready`` gets the payload's pid and the path of its control group, or "", while its process is held before its
    first instruction; whatever it raises is raised again, and the payload never runs.  ``ancestors`` are those whose end
    ends the payload (``ancestors.watch``, to be called as early as can be).  ``meanwhile`` is called once while PAM opens
    the session, by another process.  ``kept`` are the payload's resource limits, where they have been lifted before.
    ``node``, the node file's values, says where the payload's books are, for its guard to keep when this process is killed.
    ``unwanted`` is called twice a second, and says why the payload is to end, or nothing.
    Afterwards the signals that end a process stay blocked, so that the end can be recorded.  Raises Refused
    (account-session-refused, pam-service-missing, terminal) and Unavailable.
    """
    signals.take()
    terminal.refuse()
    pam.require_service(work.service)
    descendants.require()
    privileges.adopt_orphans()
    before_lifting = limits.lift()
    limits.score_for_oom(limits.NEVER)  # a record of the end is for somebody to write
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    group = control_group.make(work.payload) if work.control_group else None
    try:
        guard = GuardProcess(work, ancestors or above.watch(), group, kept or before_lifting, node)
    except OSError as error:
        control_group.removed(group)
        raise Unavailable(f"the payload's guard cannot be started: {error.strerror}") from error
    try:
        meanwhile()
        pid = guard.held()
        group = control_group.entered(group, pid)
        ready(pid, group.path if group else "")
        guard.go()
        told = guard.ended(unwanted)
    finally:
        left = guard.clear()
        counted = control_group.removed(group)
    if left:
        detail = f"{left} processes were killed, and hang in the kernel"
        syslog_line.decision("payload-end", "left", job=work.payload, account=work.account, detail=detail)
    measured = "wait4" if counted is None else "wait4+cpu.stat"
    if told:
        status, user, system, memory = map(int, told[:4])
        return Ended(status, user, system, memory, counted, measured, told[-1], left)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the guard's own is in it
    return Ended(
        signal.SIGKILL if guard.status is None else guard.status,
        round((used.ru_utime - before.ru_utime) * 1_000_000),
        round((used.ru_stime - before.ru_stime) * 1_000_000),
        used.ru_maxrss * 1024,
        counted,
        measured,
        "its guard was killed",
        left,
    )
