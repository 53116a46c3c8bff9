"""One row as it is played: its person, its jobs, the steps it takes, and what is seen of it."""

from __future__ import annotations

import fcntl
import json
import pwd
import re
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridwarden import chain, holders, register
from tests.scenarios.batch import DRAINED, ENDED, RUNNING, RefusedError, Shape
from tests.scenarios.statements import Seen
from tests.site import credentials, pilot
from tests.site.slurm import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import SimpleNamespace

    from tests.scenarios.batch import BatchSystem

HOLDERS = "/run/gridwarden/holders"
REGISTER = "/run/gridwarden/jobs"
LEDGER = Path("/var/lib/gridwarden/ledger")
GRIDMAPDIR = Path("/etc/grid-security/gridmapdir")
BURN = "timeout 0.4 sh -c 'while :; do :; done'; true\n"
SYSLOG = Path("/var/log/syslog")
PATIENCE = 60.0


class Play:
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
        """A script that burns, and ends once ``go`` was called."""
        return f"{BURN}until [ -e {self._go} ]; do sleep 0.1; done\n"

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

    def ends(self, job: str) -> None:
        until(f"{job} to end", lambda: set(self.batch.states(job)) <= ENDED and self.batch.states(job), PATIENCE)
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

    # What others do meanwhile.

    def ban(self, *how: str) -> None:
        assert self.person
        subject = self.person.subject
        subprocess.run(
            ["gridwarden", "ban", "add", subject, "--because", "a test", *how], check=True, capture_output=True
        )
        self.undo.callback(subprocess.run, ["gridwarden", "ban", "remove", subject], check=True, capture_output=True)

    def lose_holder(self) -> None:
        holder, group = self.holder(), Path(HOLDERS).stat().st_gid
        holders.remove(HOLDERS, self.account)
        self.undo.callback(holders.publish, HOLDERS, holder, group)

    def damage_holder(self) -> None:
        """As a full disk, or an editor, might leave it."""
        path = Path(HOLDERS, self.account)
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        self.undo.callback(path.write_bytes, before)

    def lose_lease(self) -> None:
        """As when an administrator removes the link."""
        name = GRIDMAPDIR / self.holder().name
        name.unlink()
        self.undo.callback(name.hardlink_to, GRIDMAPDIR / self.account)

    def lend_to_somebody_else(self) -> None:
        """As LCMAPS does with an account whose link is gone."""
        self.lose_lease()
        other = GRIDMAPDIR / "%2fdc%3dorg%2fdc%3dexample%2fcn%3dsomebody%20else"
        other.hardlink_to(GRIDMAPDIR / self.account)
        self.undo.callback(other.unlink)

    def fill_pool(self, pool: str) -> None:
        """Every account of a pool that is free is lent by another program."""
        for account in sorted(GRIDMAPDIR.glob(f"{pool}[0-9]*")):
            if account.stat().st_nlink == 1:
                lent = GRIDMAPDIR / f"%2fcn%3d{account.name}"
                lent.hardlink_to(account)
                self.undo.callback(lent.unlink)

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

    def forget_register(self) -> None:
        """As a reboot does: /run is empty."""
        for name in register.names_of(REGISTER, self.account):
            register.leave(REGISTER, self.account, name)

    def settle_nodes(self) -> None:
        """See how the nodes are left, and use them again."""
        self.epilogs()
        for node in self.batch.nodes:
            state = self.batch.node_state(node)
            self.seen.nodes.append(state)
            if state == DRAINED:
                self.batch.use_again(node)

    @contextmanager
    def full_ledger(self) -> Iterator[None]:
        """The node's ledger is on a disk without room; what syslog says meanwhile of records is seen."""
        full = Path("/run/full-disk")
        full.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs", str(full)], check=True)
        (full / "filling").write_bytes(b"x" * 4096)
        try:
            with self.batch.choosing(ledger=str(full)), self.watching_syslog():
                yield
        finally:
            subprocess.run(["umount", str(full)], check=True)
            full.rmdir()

    @contextmanager
    def hooks_off(self) -> Iterator[None]:
        subprocess.run(["gridwarden", "off", "hooks", "--because", "a test"], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["gridwarden", "on", "hooks"], check=True, capture_output=True)

    @contextmanager
    def stuck_ledger(self) -> Iterator[None]:
        """Somebody has the ledger's lock, and does not let go."""
        with (LEDGER / "lock").open("rb") as lock, self.watching_syslog():
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def watching_syslog(self) -> Iterator[None]:
        """See what syslog says of records that could not be written."""
        said = len(SYSLOG.read_text(errors="replace"))
        yield
        lines = SYSLOG.read_text(errors="replace")[said:].splitlines()
        self.seen.facts["syslog"] = [line for line in lines if "outcome=unrecorded" in line and self.account in line]
