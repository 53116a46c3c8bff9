"""The jobs whose unprivileged hooks speak to the agent, each known by the process of root's that started it.

A hook runs as its job's user, and so may the job itself speak: what of a message counts is when it came and from below
which starter.  Which job that is, its batch system says; who is behind it, the same checks as a prolog's; and that it has
ended, the starter's own end.  ``RUNTIME/starters/PID`` remembers a job over the agent's own end.
"""

from __future__ import annotations

import os

from gridwarden import proc, register, tab_file, trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.pilot import job_of

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.agent.errand import Errand
    from gridwarden.hooks.agent.sender import Sender
    from gridwarden.records import Value

    Send = Callable[[Callable[[int], None], Callable[[bytes | None], None], float], Errand | None]
    Watch = Callable[[int, Callable[[], None] | None], None]

NUMBERS = ("pid", "start", "uid", "restart")
TEXTS = ("batch", "job", "account", "lease", "exit_code")
START_SECONDS = 30.0  # for the batch system to say which job it is, and for the account's lock
END_SECONDS = 300.0  # for the clean-up of the account's last job, too
BY_MESSAGE = (
    "condor_starter"  # HTCondor's hooks run as the job's user; those of the others are root's, and hooks enough
)
OK, BANNED, DOUBT = "ok", "banned", "doubt"


class Started:
    """A job of ``uid``, and the starter ``pid`` with its start time in clock ticks since boot.

    The other fields are empty until it is known which job it is.  ``end`` is a pidfd of the starter, or -1.
    """

    __slots__ = ("account", "batch", "end", "exit_code", "job", "lease", "pid", "restart", "start", "uid")

    def __init__(self, pid: int, start: int, uid: int) -> None:
        self.pid = pid
        self.start = start
        self.uid = uid
        self.restart = 0
        self.batch = self.job = self.account = self.lease = self.exit_code = ""
        self.end = -1

    def of_file(self, values: dict[str, list[str]]) -> None:
        """Take over what its file says of the job; raises ValueError, KeyError."""
        self.restart = int(values["restart"][0])
        self.batch, self.job, self.account, self.lease, self.exit_code = (values[field][0] for field in TEXTS)

    def pairs(self) -> list[tuple[str, str]]:
        """The lines of its file."""
        return [(field, str(getattr(self, field))) for field in (*NUMBERS, *TEXTS)]

    def about(self) -> dict[str, Value]:
        """What records about it say."""
        return {
            "batch": self.batch,
            "job": self.job,
            "restart": self.restart,
            "account": self.account,
            "uid": self.uid,
            "lease": self.lease,
        }


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

    def __len__(self) -> int:
        return len(self._known)

    def remember(self) -> None:
        """Take up what the last agent knew; raises OSError."""
        for name in os.listdir(self._directory):
            if name.startswith("."):
                continue
            try:
                values = tab_file.decode(trusted.read_file(f"{self._directory}/{name}"))
                started = Started(*(int(values[field][0]) for field in NUMBERS[:3]))
                started.of_file(values)
            except (ConfigurationError, ValueError, KeyError):
                continue  # written in the moment of a crash: nothing was answered
            self._known[started.pid] = started
            self._await_end(started)

    def known(self, who: Sender) -> dict[str, Value] | None:
        """What records say of the job of ``who``; None while that is not known."""
        if who.starter_name != BY_MESSAGE:
            return self._registered(who)
        started = self._of(who)
        return started.about() if started and started.job else None

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
            if outcome == OK:
                started.restart = int(values["restart"])
                started.batch, started.job, started.account, started.lease = (values[field] for field in TEXTS[:4])
                self._write(started)
                self._await_end(started)
                done(started.job)
                return
            del self._known[started.pid]
            detail = values.get("detail", "it could not be found out in time which job it is")
            (refused if outcome == BANNED else doubted)(detail)

        if self._send(work, back, START_SECONDS) is None:
            del self._known[started.pid]
            doubted("too many jobs begin at once")

    def note_end(self, who: Sender, exit_code: str) -> None:
        """Remember what the job's hook said of its exit code; whether it has ended, the starter's end tells."""
        started = self._of(who)
        if started:
            started.exit_code = exit_code[:16]
            self._write(started)

    def _of(self, who: Sender) -> Started | None:
        if who.starter is None:
            return None
        started = self._known.get(who.starter.pid)
        return started if started and started.start == who.starter.start else None

    def _write(self, started: Started) -> None:
        try:
            trusted.replace_file(f"{self._directory}/{started.pid}", tab_file.encode(started.pairs()), 0o600)
        except (OSError, ConfigurationError):
            pass  # the runtime directory is full: a restart of the agent forgets when this job ends

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
            self._known.pop(started.pid, None)
            if report is not None:
                try:
                    os.unlink(f"{self._directory}/{started.pid}")
                except FileNotFoundError:
                    pass

        self._send(work, back, END_SECONDS)


def _decoded(report: bytes | None) -> dict[str, str]:
    try:
        return {key: values[-1] for key, values in tab_file.decode(report or b"").items()}
    except ValueError:
        return {}
