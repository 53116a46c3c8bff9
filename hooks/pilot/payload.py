"""The process that becomes a payload: held before its first instruction, made its owner's for good, executed."""

from __future__ import annotations

import os

from gridwarden import tab_file
from gridwarden.become import become
from gridwarden.errors import GridwardenError
from gridwarden.hooks.pilot import limits, privileges, refusals, signals

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from gridwarden.hooks.pilot.limits import Limits
    from gridwarden.hooks.pilot.work_order import Work
else:  # signal would load enum
    import _signal as signal

GO = b"."
NOT_EXECUTABLE, NOT_ITS_OWNER = 126, 202  # exit codes, as gLExec has them
UMASK = 0o077


class Payload:
    """A payload's process.  ``status`` is its wait status once it has ended; ``fault`` why it could not begin."""

    __slots__ = ("_failure", "pid", "status")

    def __init__(self, pid: int, failure: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self._failure = failure

    def fault(self) -> str:
        """Why the payload was not executed, as its process told before it ended; "" when it was."""
        os.set_blocking(self._failure, False)
        try:
            return os.read(self._failure, 4096).decode("ascii")
        except BlockingIOError:
            return ""


def hold(work: Work, environment: dict[bytes, bytes], gate: int, capabilities: int, most: Limits) -> Payload:
    """Fork the process of the payload, which waits for ``GO`` from ``gate``, and ends when that ends without.

    Of the resource limits of this process it gets no more than ``most``.
    """
    guard = os.getpid()
    failure, failing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _begin(work, environment, gate, failing, guard, capabilities, most)
    os.close(failing)
    return Payload(pid, failure)


def _begin(
    work: Work, environment: dict[bytes, bytes], gate: int, failing: int, guard: int, capabilities: int, most: Limits
) -> NoReturn:
    code = NOT_ITS_OWNER
    try:
        _close_all_but(work.program, work.directory, failing, gate)
        os.fchdir(work.directory)  # as root: in the pilot's own directory the owner may stand, and reach nothing
        _forgo(work, capabilities, most)
        if os.read(gate, 1) != GO:
            os._exit(code)
        signals.forget()
        _become_owner(work, capabilities)
        privileges.end_with_parent(signal.SIGKILL)  # what was set before ended with the change of uid
        if os.getppid() != guard:
            os._exit(code)
        code = NOT_EXECUTABLE
        _execute(work, environment)
    except BaseException as error:  # noqa: BLE001 - its parent's code must never run on in the child
        what = refusals.NOT_BECOME if code == NOT_ITS_OWNER else "it could not be executed"
        reason = getattr(error, "strerror", None) or str(error)
        os.write(failing, tab_file.escape(f"{what}: {reason}").encode("ascii")[:4096])
    finally:
        os._exit(code)


def _close_all_but(*kept: int) -> None:
    """Close every descriptor but the standard three and ``kept``, which are closed when the program is executed."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # that of the listing
    for descriptor in kept:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - has no other way


def _forgo(work: Work, capabilities: int, most: Limits) -> None:
    """What can be done while this process is held, and still root's: nobody else can reach it.  Raises OSError."""
    limits.tighten(most)
    os.umask(UMASK)
    if work.no_new_privileges:
        privileges.forgo_new_privileges()
    privileges.forgo_capabilities(capabilities)


def _become_owner(work: Work, capabilities: int) -> None:
    """Raises GridwardenError or OSError unless this process now is the owner's and cannot be anybody else's."""
    become(work.uid, work.gid, os.getgroups())
    privileges.hold_capabilities(capabilities)
    status = privileges.status()
    held = {int(value, 16) for name, value in status.items() if name.startswith("Cap")}
    if held != {capabilities} or (work.no_new_privileges and status["NoNewPrivs"] != "1"):
        raise GridwardenError(f"the kernel says {status}")


def _execute(work: Work, environment: dict[bytes, bytes]) -> NoReturn:
    if not work.script:
        os.execve(work.program, work.arguments, environment)  # noqa: S606 - no shell is the point
    judged, present = os.fstat(work.program), os.stat(work.path)
    if (judged.st_dev, judged.st_ino) != (present.st_dev, present.st_ino):
        raise GridwardenError("another file has taken its place since it was checked")
    os.execve(work.path, work.arguments, environment)  # noqa: S606 - as above
