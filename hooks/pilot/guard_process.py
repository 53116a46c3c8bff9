"""The launcher's side of a payload's guard: start it, hear what it tells, hand signals on, do its work when it is killed."""

from __future__ import annotations

import os
import select
import time

from gridwarden import passing, tab_file
from gridwarden.errors import Refused, Unavailable
from gridwarden.hooks.pilot import descendants, guard, work_order
from gridwarden.hooks.pilot.guard import END_SECONDS, Watch
from gridwarden.hooks.pilot.payload import GO
from gridwarden.hooks.pilot.signals import ENDING, Waiting, name_of

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.ancestors import Ancestors
    from gridwarden.hooks.pilot.control_group import Group
    from gridwarden.hooks.pilot.limits import Limits
    from gridwarden.hooks.pilot.work_order import Work
else:  # signal would load enum
    import _signal as signal

PAM_SECONDS = 30.0  # for PAM's modules to open a session, and again to close it
CLOSE_SECONDS = 1.0  # for a guard to close what has not begun
LATE_SECONDS = 5.0  # more than it needs, after which a guard that should have ended everybody is ended itself
POLL_SECONDS = 0.5
MOST_TOLD = 65536
ENDED_BY_US = "ended by SIGTERM"  # in a guard's words


class GuardProcess:
    """The guard of a payload to come, which loads PAM's modules for ``service`` meanwhile; raises OSError.

    ``status`` is the payload's wait status, where its death came to us.  Either ``begin`` and, at last, ``clear``
    follow, or ``abandon``.
    """

    def __init__(self, service: str, caller: str, ancestors: Ancestors, kept: Limits, node: Site | None = None) -> None:
        self.status: int | None = None
        self._service = service
        self._ancestors = ancestors
        self._group: Group | None = None
        self._grace = 0.0
        self._payload = 0
        self._waiting = Waiting()
        self._lines: list[list[str]] = []
        self._part = b""
        self._running, self._begun, self._given, self._silent = True, False, False, False
        self._asked_to_end, self._because = False, ENDED_BY_US
        self._report, report = os.pipe2(os.O_CLOEXEC)
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        self._orders, orders = passing.pair()
        launcher = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._gate)
            self._orders.close()
            guard.guard(service, caller, Watch(orders, report, gate, ancestors, kept, node), launcher)
        orders.close()
        os.close(report)
        os.close(gate)
        os.set_blocking(self._report, False)

    def begin(self, work: Work, group: Group | None) -> None:
        """Give it its work, whose payload goes into ``group``; raises OSError."""
        self._grace, self._group, self._given = work.grace_seconds, group, True
        try:
            work_order.send(self._orders, work, group)
        except ConnectionError:
            pass  # it has ended, and told why
        self._orders.close()

    def abandon(self) -> None:
        """End it where no work will come: it has opened nothing.  Where there was some, ``clear`` has done that."""
        if self._given:
            return
        self._orders.close()
        os.kill(self._pid, signal.SIGKILL)  # our child and not reaped yet, so the number is still its own
        os.waitpid(self._pid, 0)

    def held(self) -> int:
        """The payload's pid, once its session is open and it waits for ``go``; raises Refused, Unavailable."""
        heard = select.poll()
        heard.register(self._report, select.POLLIN)
        deadline = time.monotonic() + PAM_SECONDS
        more = True
        while more and not self._lines and time.monotonic() < deadline:
            self._refuse_ended()
            more = not heard.poll(POLL_SECONDS * 1000) or self._hear()
        if not self._lines:
            raise Unavailable(
                f"PAM service {self._service}: no session was opened within {PAM_SECONDS:g} s, or its process was killed",
                "see the log of authpriv",
            )
        kind, *words = self._lines.pop(0)
        if kind == "refused":
            raise Refused(*words)
        if kind != "held":
            raise Unavailable(*words)
        self._payload = int(words[0])
        self._refuse_ended()
        return self._payload

    def go(self) -> None:
        """Let the payload begin."""
        self._begun = True
        try:
            os.write(self._gate, GO)
        except BrokenPipeError:
            pass  # it has been killed meanwhile

    def ended(self, unwanted: Callable[[], str]) -> list[str] | None:
        """What the guard tells of the end, before it closes the session; None where it was killed before.

        ``unwanted`` says why the payload is to end before its time, or nothing.
        """
        deadline = float("inf")
        while self._running and not self._lines and time.monotonic() < deadline:
            self._wait()
            if not (self._lines or self._asked_to_end) and (why := unwanted()):
                self._end(why)
            if deadline == float("inf") and (self._asked_to_end or self._ancestors.gone()):
                deadline = time.monotonic() + self._grace + END_SECONDS + LATE_SECONDS
        if not self._lines or self._lines[0][0] != "ended":
            return None
        *figures, because = self._lines[0][1:]
        return [*figures, self._because if because == ENDED_BY_US else because]

    def closed(self) -> None:
        """Wait until the guard has closed the session and ended, for as long as PAM may take."""
        deadline = time.monotonic() + PAM_SECONDS
        while self._running and time.monotonic() < deadline:
            self._wait()

    def _end(self, why: str) -> None:
        """Have the payload end, as a signal to us would."""
        self._asked_to_end, self._because = True, why
        if self._running:
            os.kill(self._pid, signal.SIGTERM)  # our child and not reaped yet, so the number is still its own

    def clear(self) -> int:
        """Have nobody left of payload and guard; how many are, which hang in the kernel."""
        os.close(self._gate)  # who is still held ends, and the guard then closes the session
        deadline = time.monotonic() + (0 if self._begun else CLOSE_SECONDS)
        while self._running and time.monotonic() < deadline:
            self._wait()
        left = descendants.end_all(self._reap, self._group, END_SECONDS)
        os.close(self._report)
        self._waiting.close()
        return left

    def _refuse_ended(self) -> None:
        """Raise Unavailable when the payload, which has not begun, is to end already."""
        if waiting := signal.sigpending() & ENDING:
            raise Unavailable(f"{name_of(min(waiting))} came before the payload had begun")
        if gone := self._ancestors.gone():
            raise Unavailable(f"{gone} had gone before the payload had begun")

    def _wait(self) -> None:
        """Wait a moment for a signal, hand it on, and hear what there is to hear."""
        for number in self._waiting.take(POLL_SECONDS, *([] if self._silent else [self._report])):
            if number in ENDING:
                self._asked_to_end = True
            if number != signal.SIGCHLD and self._running:
                os.kill(self._pid, number)  # our child and not reaped yet, so the number is still its own
        self._reap()
        self._silent = not self._hear()

    def _reap(self) -> bool:
        """Wait for the guard, and for those who have become our children by its end; whether there are others."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._running = False
                elif ended[0] == self._payload:
                    self.status = ended[1]
        except ChildProcessError:
            return False
        return True

    def _hear(self) -> bool:
        """Take what has been told; whether there may be more to come."""
        try:
            while part := os.read(self._report, MOST_TOLD):
                *whole, self._part = (self._part + part).split(b"\n")
                self._lines += [
                    [tab_file.unescape(word) for word in line.decode("ascii").split("\t")] for line in whole
                ]
        except BlockingIOError:
            return True
        return False
