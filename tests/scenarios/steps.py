"""The steps of a row that its user takes, what is waited for and what is seen of it."""

from __future__ import annotations

import json
import pwd
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden import chain, holders, register
from tests.scenarios.batch import DRAINED, ENDED, RUNNING, RefusedError, Shape
from tests.scenarios.statements import Seen
from tests.site import credentials, pilot
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from tests.scenarios.batch import BatchSystem

HOLDERS = "/run/gridwarden/holders"
REGISTER = "/run/gridwarden/jobs"
LEDGER = Path("/var/lib/gridwarden/ledger")
GRIDMAPDIR = Path("/etc/grid-security/gridmapdir")
BURN = "timeout 0.4 sh -c 'while :; do :; done'; true\n"
PATIENCE = 60.0


class Steps:
    """The steps of a row; what they undo at its end is in ``undo``.

    ``person`` is None for a row about a user of the machine, ``account``.
    """

    def __init__(self, batch: BatchSystem, name: str, person: SimpleNamespace | None, account: str) -> None:
        self.batch = batch
        self.person = person
        self.account = account
        self.seen = Seen(person.subject if person else account, account)
        self.jobs: list[str] = []
        self.undo = ExitStack()
        self.home = Path(pwd.getpwnam(account).pw_dir)
        slug = re.sub(r"\W+", "-", name)
        self._mark, self._go = self.home / f"ran-{slug}", self.home / f"go-{slug}"
        self._first_record = len(self.ledger())

    # The user's steps.

    def submit(self, script: str = BURN, *, proxy: Path | None = None, **shape: Any) -> str:
        """Through gridwarden, for the row's person; a user of the machine submits as such."""
        text = f"echo $$ >> {self._mark}\n{script}"
        if self.person is None:
            job = self.batch.submit_as(self.account, text, Shape(**shape))
        else:
            job = self.batch.submit(proxy or self.person.proxy, text, Shape(**shape))
        self.jobs.append(job)
        return job

    def submit_directly(self, script: str = BURN, **shape: Any) -> str:
        """As the account itself, past the CE."""
        job = self.batch.submit_as(self.account, f"echo $$ >> {self._mark}\n{script}", Shape(**shape))
        self.jobs.append(job)
        return job

    def is_refused(self, submit: Callable[[], object]) -> None:
        """A submission that must not go through; what the user is told is seen."""
        try:
            submit()
        except RefusedError as error:
            self.seen.told.append(str(error))
        else:
            raise AssertionError("it was not refused")

    def waiting_to_go(self) -> str:
        """A script that burns, and ends once ``go`` was called.

        It starts nothing while it waits: what it starts just as Slurm kills it would be a stray, with a record of its own.
        """
        return f"exec 9<> <(:)\n{BURN}until [ -e {self._go} ]; do read -rt 0.1 -u 9 || true; done\n"

    def until_run(self, times: int) -> str:
        """A script that ends once the row's jobs have executed their first line so often."""
        return f"until [ $(wc -l < {self._mark}) -ge {times} ]; do sleep 0.1; done\n"

    def go(self) -> None:
        self._go.touch()

    @staticmethod
    def hold_credentials() -> set[str]:
        """What a pilot holds: its own proxy, and those of two people; who they are."""
        for person in (pilot.OWNER, "anna", "chen"):
            pilot.proxy(person)
        return {one.subject for one in credentials.PEOPLE if one.name in ("anna", "chen")}

    # Waiting.

    def runs(self, job: str, times: int = 1) -> None:
        """Until the job's script executes, for the ``times``-th time."""
        until(f"{job} to run", lambda: self.batch.states(job) == [RUNNING] and len(self.pids()) >= times, PATIENCE)

    def ends(self, job: str, seconds: float = PATIENCE) -> None:
        until(f"{job} to end", lambda: set(self.batch.states(job)) <= ENDED and self.batch.states(job), seconds)
        self.epilogs()

    def is_in(self, job: str, state: str) -> None:
        until(f"{job} to be {state}", lambda: set(self.batch.states(job)) == {state}, PATIENCE)

    def epilogs(self, jobs: int = 0) -> None:
        """Until the register has no more than ``jobs`` jobs of the account."""
        until("the epilogs", lambda: len(register.names_of(REGISTER, self.account)) <= jobs, PATIENCE)

    def recorded(self, kind: str, **fields: object) -> None:
        until(
            f"a {kind} record",
            lambda: [one for one in self.own_records() if {"kind": kind, **fields}.items() <= one.items()],
        )

    # Looking.

    def pids(self) -> list[int]:
        """The shells that have executed the script's first line."""
        return [int(line) for line in self._mark.read_text().split()] if self._mark.exists() else []

    def note(self, moment: str, job: str) -> None:
        self.seen.moments[moment] = self.batch.states(job)

    def look(self) -> None:
        """Ask whoran about the last shell that has begun."""
        done = subprocess.run(
            ["whoran", str(self.pids()[-1]), "--format", "json"], capture_output=True, text=True, check=False
        )
        self.seen.live += json.loads(done.stdout)

    def look_at_nodes(self) -> None:
        self.seen.nodes += [self.batch.node_state(node) for node in self.batch.nodes]

    def look_at_stamp(self, job: str) -> None:
        self.seen.facts |= {"stamp": self.batch.stamp(job), "lease": self.holder().lease}

    def holder(self) -> holders.Holder:
        return holders.read(HOLDERS, self.account)

    @staticmethod
    def ledger() -> list[dict[str, Any]]:
        return [line.body for line in chain.read(LEDGER)]

    def own_records(self) -> list[dict[str, Any]]:
        """What was recorded since the row began of its account, its person or a gap."""
        new = self.ledger()[self._first_record :]
        mine = {("account", self.account), ("pilot", self.account), ("subject", self.seen.subject)}
        mine |= {("payload", one["payload"]) for one in new if one.get("pilot") == self.account and "payload" in one}
        gaps = f"account {self.account}"
        return [
            one for one in new if mine & set(one.items()) or (one["kind"] == "gap" and str(one["what"]).endswith(gaps))
        ]

    # The end.

    def over(self) -> None:
        """End what is left, and see what the ledger and the batch system have of it."""
        for job in self.jobs:
            self.seen.states += self.batch.states(job)
            self.seen.numbers += self.batch.numbers(job)
        self.seen.runs = len(self.pids())
        self.seen.records = self.own_records()
        self.undo.close()
        for job in self.jobs:
            if not set(self.batch.states(job)) <= ENDED:
                self.batch.cancel(job)
                until(f"{job} to end", lambda job=job: set(self.batch.states(job)) <= ENDED, PATIENCE)
        self.epilogs()
        self._mark.unlink(missing_ok=True)
        self._go.unlink(missing_ok=True)

    def settle_nodes(self) -> None:
        """See how the nodes are left, and use them again."""
        self.epilogs()
        for node in self.batch.nodes:
            state = self.batch.node_state(node)
            self.seen.nodes.append(state)
            if state == DRAINED:
                self.batch.use_again(node)
