"""The jobs whose unprivileged hooks speak to the agent, each known by the process of root's that started it.

A hook runs as its job's user, and so may the job itself speak: what of a message counts is when it came and from below
which starter.  Which job that is, its batch system says; who is behind it, the same checks as a prolog's; and that it has
ended, the starter's own end.  ``RUNTIME/starters/PID`` remembers a job over the agent's own end.
"""

from __future__ import annotations

import os

from gridwarden import proc, register, tab_file, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.agent.started import TEXTS, Started, everything, remove, write
from gridwarden.hooks.pilot import job_of

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.agent.errand import Errand
    from gridwarden.hooks.agent.sender import Sender
    from gridwarden.records import Value

    Send = Callable[[Callable[[int], None], Callable[[bytes | None], None], float], Errand | None]
    Watch = Callable[[int, Callable[[], None] | None], None]

START_SECONDS = 30.0  # for the batch system to say which job it is, and for the account's lock
END_SECONDS = 300.0  # for the clean-up of the account's last job, too
BY_MESSAGE = (
    "condor_starter"  # HTCondor's hooks run as the job's user; those of the others are root's, and hooks enough
)
AGAIN_SECONDS = 60.0
MOST_AT_ONCE = 8
MOST_OF_USER = 2  # they wait for one another anyway, for the account's lock, and others must not
MOST_TRIES = 5  # with each, the startd is asked
OK, BANNED, DOUBT = "ok", "banned", "doubt"


class Starters:
    """Every job of ``site`` that began by a message and has not ended.

    ``send`` sends a child on an errand; ``watch`` calls a function when a descriptor can be read, None: no longer.
    """

    def __init__(self, site: dict[str, list[str]], directory: str, send: Send, watch: Watch) -> None:
        self._site = site
        self._directory = directory
        self._send = send
        self._watch = watch
        self._known: dict[int, Started] = {}
        self._tries: dict[tuple[int, int], int] = {}
        self._unended: list[Started] = []
        self._waiting: list[tuple[int, Callable[[int], None], Callable[[bytes | None], None], float]] = []
        self._under_way: list[int] = []  # their uids
        self._again = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def on_tick(self, now: float) -> None:
        """Try again what could not be done, and forget starters that are gone."""
        self._go_on()
        if now >= self._again:
            self._again = now + AGAIN_SECONDS
            unended, self._unended = self._unended, []
            for started in unended:
                self._ended(started)
            self._tries = {one: tries for one, tries in self._tries.items() if _is_there(*one)}

    def remember(self) -> None:
        """Take up what the last agent knew; raises OSError."""
        for each in everything(self._directory):
            self._known[each.pid] = each
            self._await_end(each)

    def known(self, who: Sender) -> dict[str, Value] | None:
        """What records say of the job of ``who``; None while that is not known."""
        if who.starter_name != BY_MESSAGE:
            return self._registered(who)
        started = self._of(who)
        # What a launcher ran as somebody else is left to the starter, where that adopts orphans, once the launcher is killed.
        return started.about() if started and started.lease and started.uid == who.uid else None

    def _registered(self, who: Sender) -> dict[str, Value] | None:
        """The job of ``who`` that a hook of root's has entered in the register, if there is just one that it can be."""
        try:
            entries = [entry for entry in register.everything(self._site["register"][0]) if entry.uid == who.uid]
        except (ConfigurationError, OSError):
            return None
        if who.starter_name == "slurmstepd" and who.starter:
            job = job_of.step_job(job_of.title(who.starter.pid))
            entries = [entry for entry in entries if (entry.batch, entry.job) == ("slurm", job)]
        else:
            entries = [entry for entry in entries if entry.batch in job_of.STARTERS[who.starter_name]]
        if len(entries) != 1:
            return None
        return {field: getattr(entries[0], field) for field in ("batch", "job", "restart", "account", "uid", "lease")}

    def begin(
        self,
        who: Sender,
        fields: dict[str, str],
        done: Callable[[str], None],
        refused: Callable[[str], None],
        doubted: Callable[[str], None],
    ) -> None:
        """Record the start of the job of ``who``, as its prolog would; once, and one of the three is told.

        ``done`` gets the job's id; ``refused`` that its holder is banned, ``doubted`` why it is nobody's evidence.
        """
        if who.starter is None or who.starter_name != BY_MESSAGE:
            doubted("the prolog of that batch system is root's, and records the start itself")
            return
        if self._of(who) is not None:
            doubted("a job_start of that job has come before")
            return
        tries = self._tries.get((who.starter.pid, who.starter.start), 0)
        if tries >= MOST_TRIES:
            doubted("its job_start was not confirmed before, and more often than a hook would try")
            return
        self._tries[who.starter.pid, who.starter.start] = tries + 1
        started = Started(who.starter.pid, who.starter.start, who.uid)
        self._known[started.pid] = started
        site, claimed = self._site, fields.get("job", "")
        stamp, restart = fields.get("stamp", ""), fields.get("restart", "0")

        def work(writing: int) -> None:
            from gridwarden.hooks.agent import starter_errands  # noqa: PLC0415 - only the child needs it

            trusted.write_all(writing, starter_errands.begin(site, started, claimed, stamp, restart))

        def back(report: bytes | None) -> None:
            values = _decoded(report)
            outcome = values.get("outcome", DOUBT)
            if "job" in values:
                started.restart = int(values["restart"])
                started.batch, started.job, started.account, started.lease = (values[field] for field in TEXTS[:4])
                write(self._directory, started)
                self._await_end(started)
            else:
                del self._known[started.pid]
            if outcome == OK:
                done(started.job)
                return
            detail = values.get("detail", "it could not be found out in time which job it is")
            (refused if outcome == BANNED else doubted)(detail)

        self._go(started.uid, work, back, START_SECONDS)

    def note_end(self, who: Sender, exit_code: str) -> None:
        """Remember what the job's hook said of its exit code; whether it has ended, the starter's end tells."""
        started = self._of(who)
        if started:
            started.exit_code = exit_code[:16]
            write(self._directory, started)

    def _of(self, who: Sender) -> Started | None:
        if who.starter is None:
            return None
        started = self._known.get(who.starter.pid)
        return started if started and started.start == who.starter.start else None

    def _await_end(self, started: Started) -> None:
        try:
            started.end = os.pidfd_open(started.pid)
            process = proc.read(started.pid)
        except OSError:
            process = None
        if process is None or process.start != started.start:
            self._ended(started)
        else:
            self._watch(started.end, lambda: self._ended(started))

    def _ended(self, started: Started) -> None:
        """Record the job's end and clear up after it, as an epilog would; the register's entry stays until that is done."""
        if started.end != -1:
            self._watch(started.end, None)
            os.close(started.end)
            started.end = -1
        site = self._site

        def work(writing: int) -> None:
            from gridwarden.hooks.agent import starter_errands  # noqa: PLC0415 - only the child needs it

            trusted.write_all(writing, starter_errands.end(site, started))

        def back(report: bytes | None) -> None:
            if report is None:
                self._unended.append(started)  # the disk may be full: its end must still be recorded
                return
            if self._known.get(started.pid) is started:  # else another starter has that pid by now
                del self._known[started.pid]
                remove(self._directory, started)

        self._go(started.uid, work, back, END_SECONDS)

    def _go(self, uid: int, work: Callable[[int], None], back: Callable[[bytes | None], None], seconds: float) -> None:
        """Send a child, or let that wait until fewer are under way: nobody's jobs keep those of others back for long."""

        def done(report: bytes | None) -> None:
            self._under_way.remove(uid)
            back(report)
            self._go_on()

        self._waiting.append((uid, work, done, seconds))
        self._go_on()

    def _go_on(self) -> None:
        for one in list(self._waiting):
            uid, work, done, seconds = one
            if len(self._under_way) >= MOST_AT_ONCE:
                return
            if self._under_way.count(uid) < MOST_OF_USER:
                if not self._send(work, done, seconds):
                    return
                self._waiting.remove(one)
                self._under_way.append(uid)


def _is_there(pid: int, start: int) -> bool:
    process = proc.read(pid)
    return process is not None and process.start == start


def _decoded(report: bytes | None) -> dict[str, str]:
    try:
        return {key: values[-1] for key, values in tab_file.decode(report or b"").items()}
    except ValueError:
        return {}
