"""The process between launcher and payload: it holds the PAM session, and sees to it that nobody outlives the payload.

It is in a session of its own, so that a signal to all of the pilot's session, or of its process group, does not reach
it: who is stopped there is seen by it, and all that descends from the payload is stopped too.
"""

from __future__ import annotations

import os
import resource
import time

from gridwarden import tab_file
from gridwarden.errors import GridwardenError, Refused, Unavailable
from gridwarden.hooks.pilot import descendants, limits, payload, privileges, signals, work_order
from gridwarden.hooks.pilot.ancestors import LAUNCHER
from gridwarden.hooks.pilot.control_group import own_path
from gridwarden.hooks.pilot.pam import Session
from gridwarden.hooks.pilot.signals import ENDING, name_of
from gridwarden.trusted import write_all
from gridwarden.values import NamedTuple
from gridwarden.variables import is_obeyed

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import signal
    from _socket import socket
    from typing import NoReturn

    from gridwarden.hooks.job import Site
    from gridwarden.hooks.pilot.ancestors import Ancestors
    from gridwarden.hooks.pilot.books import Payload as Books
    from gridwarden.hooks.pilot.control_group import Group
    from gridwarden.hooks.pilot.limits import Limits
    from gridwarden.hooks.pilot.payload import Payload
    from gridwarden.hooks.pilot.session import Ended
    from gridwarden.hooks.pilot.work_order import Work
else:  # signal would load enum
    import _signal as signal

POLL_SECONDS = 0.25
END_SECONDS = 10.0  # for what was killed to be gone, unless it hangs in the kernel


class Watch(NamedTuple):
    """What a guard has of its launcher: where work comes from, pipes, whom to watch, the payload's limits, and the node.

    ``group`` is where the payload goes, which comes with the work.
    """

    orders: socket
    report: int
    gate: int
    ancestors: Ancestors
    limits: Limits
    node: Site | None
    group: Group | None = None


def guard(service: str, caller: str, watch: Watch, launcher: int) -> NoReturn:
    """Be the guard of a payload, in a child of the launcher that has the pid ``launcher``, and end.

    PAM's modules are loaded at once, and the session is opened when the work is known.  The launcher is told, a line each: ``held PID``, then ``ended STATUS USER SYSTEM MEMORY LEFT BECAUSE``; or instead
    ``refused REASON DETAIL`` or ``unavailable DETAIL``.
    """
    try:
        privileges.end_with_parent(signal.SIGKILL)
        if os.getppid() == launcher:
            _guard(service, caller, watch)
        os._exit(0)
    except Refused as refusal:
        _tell(watch, "refused", refusal.reason, refusal.detail, refusal.hint)
    except GridwardenError as error:
        _tell(watch, "unavailable", str(error), error.hint)
    except BaseException as error:  # noqa: BLE001 - the launcher's code must never run on in the child
        _tell(watch, "unavailable", f"unexpected {type(error).__name__}: {error}", "")
    finally:
        os._exit(1)


def _guard(service: str, caller: str, watch: Watch) -> None:
    privileges.adopt_orphans()
    privileges.clear_inheritable()
    limits.restore(watch.limits, limits.CORE)  # all others would be the caller's hold on PAM's modules
    signals.let_children_be_waited_for()  # modules execute programs
    session = Session(service, caller)
    ordered = work_order.receive(watch.orders)
    if ordered is None:
        return  # the launch was refused
    work, watch = ordered[0], watch._replace(group=ordered[1])
    before = own_path()
    session.open(work.account, work.groups)
    try:
        if own_path() != before:
            raise Unavailable(
                f"PAM service {work.service} has moved the payload out of the batch job's control group",
                f"take pam_systemd out of /etc/pam.d/{work.service}",
            )
        signals.take()
        guarded = payload.hold(work, _environment(work, session), watch.gate, _capabilities(work), watch.limits)
        os.close(watch.gate)
        limits.lift()
        os.setsid()
        privileges.end_with_parent(signal.SIGTERM)  # from now on there is somebody to end
        _tell(watch, "held", str(guarded.pid))
        guarding = Guarding(guarded, watch, work)
        ended = guarding.run()
        _tell(watch, "ended", *map(str, ended))
        guarding.close_inherited(ended)
    finally:
        signals.let_children_be_waited_for()
        session.close()
    guarding.close_inherited(ended)  # its launcher may have waited for that, and been killed


def _environment(work: Work, session: Session) -> dict[bytes, bytes]:
    set_by_pam = session.environment().items()
    return work.environment | {name: value for name, value in set_by_pam if not is_obeyed(name)}


def _capabilities(work: Work) -> int:
    return privileges.inheritable() if work.capabilities == "pam" else 0


class Guarding:
    """Watching over a payload until it and all its descendants are gone."""

    def __init__(self, guarded: Payload, watch: Watch, work: Work) -> None:
        self._payload = guarded
        self._watch = watch
        self._work = work
        self._before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._waiting = signals.Waiting()
        self._suspension = descendants.Suspension()
        self._stopped = self._told_to_stop = False
        self._books: Books | None = None
        self._has_closed = False
        self._because = ""
        self._deadline = float("inf")
        self._next_look = time.monotonic()

    def run(self) -> tuple[int, int, int, int, int, str]:
        """Wait for the end: status, user and system microseconds, bytes of memory, how many are left, and why."""
        while self.reap() and time.monotonic() < self._deadline:
            if self._payload.status is not None and not self._because:
                break  # by itself; whom it has left behind is not waited for
            if time.monotonic() >= self._next_look:
                self._look()
            self._take_signals()
        left = descendants.end_all(self.reap, self._watch.group, END_SECONDS)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Whom another process of the account traces has ended, and is not to be waited for while that lives.
        unreaped = sum(process.cpu for process in descendants.seen()) if self.reap() else 0
        status = self._payload.status
        return (
            signal.SIGKILL if status is None else status,  # None: killed, and not gone
            round((used.ru_utime - self._before.ru_utime) * 1_000_000) + unreaped,
            round((used.ru_stime - self._before.ru_stime) * 1_000_000),
            used.ru_maxrss * 1024,
            left,
            self._payload.fault() or self._because,
        )

    def reap(self) -> bool:
        """Wait for the descendants that have ended without a parent; whether there are others."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._payload.pid:
                    self._payload.status = ended[1]
        except ChildProcessError:
            return False
        return True

    def _look(self) -> None:
        """End with the ancestors, stop with them and go on with them; who is to end goes on, so that it can."""
        self._next_look = time.monotonic() + POLL_SECONDS
        gone = self._watch.ancestors.gone()
        if gone == LAUNCHER:
            self._inherit()
        if gone and not self._because:
            self._end(signal.SIGTERM, f"{gone} has gone")
        stopped = not self._because and (self._told_to_stop or self._watch.ancestors.are_stopped())
        if stopped:
            self._suspension.stop()
        elif self._stopped:
            self._suspension.end()
        self._stopped = stopped

    def close_inherited(self, ended: tuple[int, int, int, int, int, str]) -> None:
        """Do what a launcher that was killed can do no more, if that is so and nobody else has begun with it."""
        if self._watch.ancestors.gone() == LAUNCHER:
            self._inherit()
        if self._books and not self._has_closed:
            self._has_closed = True
            from gridwarden.hooks.pilot import books  # noqa: PLC0415 - launchers are hardly ever killed

            books.close_inherited(self._books, _measured(ended, self._watch.group))

    def _inherit(self) -> None:
        if self._watch.node and not self._books:
            from gridwarden.hooks.pilot import books  # noqa: PLC0415 - as above

            self._books = books.inherit(self._watch.node, self._work.payload, self._work.directory)

    def _take_signals(self) -> None:
        """Wait for a signal until the next look is due, and do what it and those behind it ask for."""
        seconds = max(min(self._next_look, self._deadline) - time.monotonic(), 0)
        for number in self._waiting.take(seconds):
            if number in ENDING:
                gone = self._watch.ancestors.gone()
                self._end(number, f"{gone} has gone" if gone else f"ended by {name_of(number)}")
                self._next_look = time.monotonic()
            elif number == signal.SIGTSTP:
                self._told_to_stop = True  # as an ancestor's stop: all of them, and until it goes on
            elif number != signal.SIGCHLD:
                self._told_to_stop &= number != signal.SIGCONT
                self._pass_on(number)

    def _end(self, number: int, because: str) -> None:
        """Ask the payload and its descendants to end, and give them their grace."""
        descendants.signal_all(descendants.seen(), number)
        if not self._because:
            self._because = because
            self._deadline = time.monotonic() + self._work.grace_seconds

    def _pass_on(self, number: int) -> None:
        if self._payload.status is None:
            os.kill(self._payload.pid, number)  # our child and not reaped yet, so the number is still its own


def _measured(ended: tuple[int, int, int, int, int, str], group: Group | None) -> Ended:
    from gridwarden.hooks.pilot import control_group  # noqa: PLC0415 - launchers are hardly ever killed
    from gridwarden.hooks.pilot.session import Ended  # noqa: PLC0415 - it loads this module

    status, user, system, memory, left, because = ended
    counted = control_group.removed(group)
    measured = "wait4" if counted is None else "wait4+cpu.stat"
    return Ended(status, user, system, memory, counted, measured, because, left)


def _tell(watch: Watch, *words: str) -> None:
    line = "\t".join(tab_file.escape(word) for word in words) + "\n"
    try:
        write_all(watch.report, line.encode("ascii"))
    except BrokenPipeError:
        pass  # the launcher has gone; what has to be done is done without
