"""A site in which work is killed or fails at some call, and what must hold of it afterwards."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gridwarden import chain
from gridwarden.errors import BadQuestion
from gridwarden.mapper import release, repair
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.lease import Lease
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.terms import HOUR, Terms
from tests.gridmap import make_accounts, make_site, person
from tests.proof import invariant
from tests.proof.crowd import START
from tests.proof.stepper import killed_at

POOLS = ("cms", "atlas")


class Scene:
    """A site, its users, and what people do in it; nobody works in their accounts, and a day passes in no time."""

    def __init__(self, directory: Path, accounts: int = 8) -> None:
        self.site = make_site(directory)
        self.users = make_accounts(self.site, *(f"cms{number:03}" for number in range(1, accounts + 1)))
        (directory / "locks").mkdir()
        self.terms = Terms(HOUR, HOUR, HOUR, (), directory / "locks", (), "", "/nowhere", "/nowhere")

    def map(self, name: str) -> Lease:
        return map_identity(person(name), self.site, silent, self.users)

    def release(self, name: str) -> None:
        which = lease_name(person(name).subject)
        with suppress(BadQuestion):  # it went before
            release.release(which, "left", "test", self.site, self.terms, no_reason, lambda: START, users=self.users)

    def free(self) -> None:
        """A day later, twice: what a kill cut short cools from when that is seen."""
        for now in (START + 24 * HOUR, START + 48 * HOUR):
            release.free(self.site, self.terms, no_reason, no_reason, lambda now=now: now, users=self.users)

    def check(self, *, mend: bool = True) -> list[repair.Outcome]:
        return repair.check_directory(self.site, POOLS, repair=mend, users=self.users)

    def nothing_is_left(self) -> None:
        """A repair mends all there is, and no evidence is damaged."""
        self.check()
        assert [outcome for outcome in self.check(mend=False) if outcome.state != repair.KNOWN] == []
        assert invariant.faults(self.site.gridmapdir) == []
        assert not chain.faults(self.site.ledger)


def every_kill(
    directory: Path, set_up: Callable[[Scene], Any], work: Callable[[Scene], object], step: int, accounts: int = 8
) -> Iterator[tuple[Scene, Any]]:
    """The scene after a kill at every `step`th system call of `work`, and once after none; and what `set_up` gave."""
    for call in itertools.count(random.randrange(step), step):
        scene = Scene(directory / str(call), accounts)
        known = set_up(scene)
        killed = killed_at(call, lambda: work(scene))  # noqa: B023 - runs in this turn
        yield scene, known
        shutil.rmtree(directory / str(call))
        if not killed:
            break
    assert call > 100, "there are more system calls than were tried"
    print(f"killed at {'each' if step == 1 else 'some'} of {call} system calls")


def no_reason(*_: object) -> str:
    """Nobody uses the account, and nothing is left in it."""
    return ""
