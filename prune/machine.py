"""The machine as one run of the pruner sees it: its processes, and what every batch system says runs here.

A look reads the processes first and asks then, so that a job that has just started is in the answer.
"""

from __future__ import annotations

import pwd
import time

from gridwarden import tab_file
from gridwarden.batch import NO_BATCH_SYSTEM, led, registered
from gridwarden.errors import ConfigurationError
from gridwarden.executables import UNTOLD
from gridwarden.prune import rules, snapshot
from gridwarden.prune.exempt import Executables
from gridwarden.prune.judge import judge, unexplained
from gridwarden.prune.lent import LentTo
from gridwarden.prune.reasons import UNKNOWN
from gridwarden.prune.recording import Owner

TYPE_CHECKING = False  # typing's own costs a quiet run 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.batch.evidence import Answer
    from gridwarden.prune.judge import Verdict
    from gridwarden.prune.snapshot import Snapshot

    Site = dict[str, list[str]]

START_UNDER_LOCK = frozenset(["slurm"])  # whose prolog takes the account's lock; others start a job at any moment
ASK_SECONDS = 10.0  # for one answer of one batch system
GENTLE_LOOKS = 3  # that may have missed somebody, before all others are halted for one
NO_ANSWER = "the file system of the program that it executes, by its name one that is exempt, does not answer"
ANYBODYS = "nobody is a stray, since it is not known whose the job is and which are its processes:"
ITS_OWN = "none of its processes is a stray, since no batch system of prune.batch tells which are those of its job"
NO_GROUP = 65534  # of a user without a passwd entry


class Machine:
    """The machine as this run sees it: each ``look`` reads its processes, and then asks what runs here."""

    def __init__(self, site: Site, deadline: float) -> None:
        self.rules = rules.read(site)
        self.site = site | {"prune_daemon": sorted(self.rules.daemons)}
        self._executables = Executables(self.rules.paths)
        self.deadline = deadline
        self._accounts: dict[int, str] = {}
        self._batch = [name for name in site.get("prune_batch", ["slurm"]) if name != NO_BATCH_SYSTEM]

    def starts_jobs_under_lock(self) -> bool:
        """Whether no job of an account starts while its lock is held."""
        return START_UNDER_LOCK.issuperset(self._batch)

    def left(self) -> float:
        """Seconds until the run must end."""
        return max(self.deadline - time.monotonic(), 0.0)

    def account_to_clear(self, uid: int) -> str:
        """The account of ``uid`` if its files may be cleared away, else ""."""
        if uid not in self._accounts:
            account = self.rules.account_of(uid)
            self._accounts[uid] = "" if account in self.rules.users else account
        return self._accounts[uid]

    def look(self) -> Sight:
        """Raises Unavailable when /proc does not show everyone, ConfigurationError."""
        return self.judge(self.read(), self.ask())

    def look_closely(self) -> Sight:
        """A look that has missed nobody who forks and ends meanwhile, if that is to be had; raises as ``look``.

        Where processes are born all the time, everybody else is halted for the moment of reading.
        """
        for _ in range(GENTLE_LOOKS):
            seen = self.read()
            if seen.is_whole:
                break
        else:
            from gridwarden.prune.halt import Halt  # noqa: PLC0415 - most looks need none

            with Halt():
                seen = self.read()
        return self.judge(seen, self.ask())

    def read(self) -> Snapshot:
        """The processes of this moment; raises Unavailable when /proc does not show everyone."""
        return snapshot.take(self.rules.whose)

    def judge(self, seen: Snapshot, answers: list[Answer]) -> Sight:
        """What this machine's processes are, by these answers."""
        self._executables.enter(seen.seen.values())
        return Sight(seen, answers, judge(seen, answers, self.rules))

    def ask(self) -> list[Answer]:
        """What every batch system of this node and the local register say."""
        answers = [asker(name)(self.site, min(ASK_SECONDS, self.left())) for name in self._batch]
        answers += [ask(self.site, min(ASK_SECONDS, self.left())) for ask in (led.jobs_here, registered.jobs_here)]
        return answers


def asker(batch: str) -> Callable[[Site, float], Answer]:
    """What asks a batch system of ``prune.batch``, loaded only where it is one of them.

    Each has an import of its own: what programs of root's can load is read from those (``hooks.code_file``).
    """
    if batch == "slurm":
        from gridwarden.batch import slurm  # noqa: PLC0415 - see above

        return slurm.jobs_here
    if batch == "htcondor":
        from gridwarden.batch import htcondor  # noqa: PLC0415

        return htcondor.jobs_here
    if batch == "pbs":
        from gridwarden.batch import pbs  # noqa: PLC0415

        return pbs.jobs_here
    if batch == "torque":
        from gridwarden.batch import torque  # noqa: PLC0415

        return torque.jobs_here
    raise ConfigurationError(f"the node file: {batch!r} is not a batch system", "gridwarden config install")


class Sight:
    """What one look showed."""

    __slots__ = ("answers", "snapshot", "verdicts")

    def __init__(self, seen: Snapshot, answers: list[Answer], verdicts: list[Verdict]) -> None:
        self.snapshot = seen
        self.answers = answers
        self.verdicts = verdicts

    def unknown(self) -> dict[str, str]:
        """Why a batch system's jobs are not known, by its name; nothing may be killed then."""
        return {answer.batch: answer.unknown for answer in self.answers if answer.unknown}

    def doubts(self) -> list[tuple[str, str, str]]:
        """(account, batch system or process, why) where it cannot be told what an account's are ("": anybody's)."""
        accounts = self.snapshot.accounts
        told = [(uid, answer.batch, why) for answer in self.answers for uid, why in answer.doubted.items()]
        doubts = [(accounts[uid], batch, why) for uid, batch, why in told if uid in accounts]
        unknown = [verdict for verdict in self.verdicts if verdict.reason == UNKNOWN]
        spared = {verdict.owner: verdict.account for verdict in unknown}
        for job in unexplained(self.answers) if self.asks_a_batch_system() else []:
            if job.owner is None:
                doubts.append(("", job.batch, f"{ANYBODYS} {tab_file.escape(job.job)}"))
            elif job.owner in spared:
                doubts.append((spared[job.owner], job.batch, f"{ITS_OWN} {tab_file.escape(job.job)}"))
        processes = [
            (one.account, one.process) for one in unknown if self.snapshot.seen[one.process.pid].file == UNTOLD
        ]
        return doubts + [(account, f"process {each.pid} ({each.command})", NO_ANSWER) for account, each in processes]

    def asks_a_batch_system(self) -> bool:
        """Whether the site has one; where there is none, it is the register that accounts for processes."""
        return any(answer.batch not in (registered.NAME, led.NAME) for answer in self.answers)

    def strays_of(self, uid: int) -> list[Verdict]:
        """The strays of the account whose own uid is ``uid``."""
        return [verdict for verdict in self.verdicts if verdict.stray and verdict.owner == uid]


def owner_of(machine: Machine, account: str, uid: int) -> Owner:
    """Whose the account is, as far as this machine's own files say."""
    try:
        gid = pwd.getpwuid(uid).pw_gid
    except KeyError:
        gid = NO_GROUP
    lent = LentTo(machine.rules.lent, account, uid)
    return Owner(account, uid, gid, machine.site["cluster"][0], lent=lent).look_up(machine.site)
