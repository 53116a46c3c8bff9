"""A site's own program, run by root after each payload (glexec.conf's ``epilogue``), with a limit on its time."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.pilot import descendants, limits
from gridwarden.hooks.pilot.signals import forget, name_of

if TYPE_CHECKING:
    from typing import NoReturn

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TERM_SECONDS = 5.0  # from SIGTERM to SIGKILL
END_SECONDS = 10.0


class _Reaped:
    """The wait status of one child, once it has ended."""

    def __init__(self, pid: int) -> None:
        self.status: int | None = None
        self._pid = pid

    def __call__(self) -> bool:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self.status = ended[1]
        except ChildProcessError:
            return False
        return True


def run(path: str, environment: dict[str, str], seconds: float) -> str:
    """Run the program ``path`` of root's for at most ``seconds``; why it failed, or "".

    It gets no other variables than ``environment`` and a PATH; its standard streams are /dev/null; nothing that it starts
    outlives it.  Call it where the session of a payload has been, with its signals still blocked.
    """
    try:
        os.close(trusted.open_file(path))  # nobody but root could put another in its place, so its path will do
    except ConfigurationError as error:
        return str(error)
    pid = os.fork()
    if pid == 0:
        _execute(path, {"PATH": PATH, **environment})
    ending = os.pidfd_open(pid)
    in_time = _has_ended(ending, seconds)
    if not in_time:
        os.killpg(pid, signal.SIGTERM)
        _has_ended(ending, TERM_SECONDS)
    os.close(ending)
    reaped = _Reaped(pid)
    descendants.end_all(reaped, None, END_SECONDS)
    if not in_time:
        return f"{path} took more than {seconds:g} s, and was ended"
    return _said(path, os.waitstatus_to_exitcode(reaped.status)) if reaped.status else ""


def _said(path: str, code: int) -> str:
    return f"{path} was ended by {name_of(-code)}" if code < 0 else f"{path} ended with exit code {code}"


def _has_ended(ending: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(ending, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _execute(path: str, environment: dict[str, str]) -> NoReturn:
    try:
        os.setsid()
        limits.score_for_oom(limits.USUAL)
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        forget()
        os.execve(path, [path], environment)  # noqa: S606 - no shell is the point
    finally:
        os._exit(127)
