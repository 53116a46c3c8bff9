"""Run a payload as its owner, between a PAM session's opening and its closing, and leave nothing of it behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.pilot.ancestors import Ancestors


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


def run(work: Work, ready: Callable[[int, str], None], ancestors: Ancestors | None = None) -> Ended:
    """Run a payload to its end; call it in a process that has one thread and nothing else to do.

    ``ready`` gets the payload's pid and the path of its control group, or "", while its process is held before its
    first instruction; whatever it raises is raised again, and the payload never runs.  ``ancestors`` are those whose end
    ends the payload (``ancestors.watch``, to be called as early as can be).  Afterwards the signals that end a process
    stay blocked, so that the end can be recorded.  Raises Refused (pam-refused, pam-service-missing, terminal) and
    Unavailable.
    """
    raise NotImplementedError
