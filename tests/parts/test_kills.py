"""SIGKILL at every system call of whatever changes the gridmapdir, then what comes next, then the invariant."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gridwarden import chain, holders
from gridwarden.errors import BadQuestion
from gridwarden.mapper import release, repair
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.repair import check_directory
from gridwarden.mapper.terms import HOUR, Terms
from tests.gridmap import holders_of_accounts, lcmaps_links, make_accounts, make_site, person
from tests.proof import LONG, invariant
from tests.proof.crowd import START
from tests.proof.stepper import killed_at

STEP = 1 if LONG else 13
ACCOUNTS = ("cms001", "cms002", "cms003")


class Scene:
    """A site, its users, and what is to be killed in it."""

    def __init__(self, directory: Path) -> None:
        self.site = make_site(directory)
        self.users = make_accounts(self.site, *ACCOUNTS)
        (directory / "locks").mkdir()
        self.terms = Terms(HOUR, HOUR, HOUR, (), directory / "locks", (), "", "/nowhere", "/nowhere")

    def map(self, name: str):
        return map_identity(person(name), self.site, silent, self.users)

    def release(self, name: str) -> None:
        with suppress(BadQuestion):  # it went before
            release.release(
                lease_name(person(name).subject),
                "left",
                "test",
                self.site,
                self.terms,
                no_reason,
                START,
                users=self.users,
            )

    def free(self) -> None:
        """A day later, twice: what a kill cut short cools from when that is seen."""
        for now in (START + 24 * HOUR, START + 48 * HOUR):
            release.free(self.site, self.terms, no_reason, no_reason, now, users=self.users)

    def check(self) -> None:
        check_directory(self.site, ("cms",), repair=True, users=self.users)

    def taken(self) -> int:
        return len(ACCOUNTS) - len(invariant.free_since(self.site.gridmapdir))

    def sound(self) -> None:
        """Nobody has another's account, no lease is without its evidence, and no evidence is damaged."""
        assert invariant.faults(self.site.gridmapdir) == []
        assert not chain.faults(self.site.ledger)
        for account, leases in holders_of_accounts(self.site).items():
            for holder in [holders.read(self.site.holders, account)] if leases else []:
                assert [holder.name] == leases


def every_kill(directory: Path, set_up, work) -> Iterator[Scene]:
    """The scene after a kill at each system call of `work` (in the short form at some), and once after none."""
    for call in itertools.count(random.randrange(STEP), STEP):
        scene = Scene(directory / str(call))
        set_up(scene)
        killed = killed_at(call, lambda: work(scene))  # noqa: B023 - runs in this turn
        yield scene
        shutil.rmtree(directory / str(call))
        if not killed:
            break
    assert call > 100, "a mapping has more system calls than were tried"
    print(f"killed at {'each' if STEP == 1 else 'some'} of {call} system calls")


def nothing(_: Scene) -> None:
    pass


def no_reason(*_: object) -> str:
    """Nobody uses the account, and nothing is left in it."""
    return ""


def held(scene: Scene) -> None:
    scene.map("Anna")


def held_before_a_restart(scene: Scene) -> None:
    holders.remove(scene.site.holders, scene.map("Anna").account)


def cooling(scene: Scene) -> None:
    scene.map("Anna")
    scene.release("Anna")


def held_through_lcmaps(scene: Scene) -> None:
    lcmaps_links(scene.site, "cms002", person("Anna"))


@pytest.fixture
def memory(monkeypatch):
    """A directory where making a file durable costs nothing: the kills are of processes, not of the machine."""
    monkeypatch.setattr(repair, "SETTLING_SECONDS", 0)  # nobody else works there
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.mark.parametrize("set_up", [nothing, held, held_before_a_restart, held_through_lcmaps])
def test_a_mapping_killed_anywhere_gives_nobody_anothers_account(memory, set_up):
    for scene in every_kill(memory, set_up, lambda scene: scene.map("Anna")):
        assert invariant.faults(scene.site.gridmapdir) == []
        people = {name: scene.map(name).account for name in ("Bela", "Anna", "Chen")}
        assert sorted(people.values()) == list(ACCOUNTS)
        assert {name: scene.map(name).account for name in people} == people
        scene.sound()


@pytest.mark.parametrize("repaired", [True, False])
@pytest.mark.parametrize("set_up", [held, held_through_lcmaps])
def test_a_release_killed_anywhere_keeps_the_account_until_it_has_cooled(memory, set_up, repaired):
    for scene in every_kill(memory, set_up, lambda scene: scene.release("Anna")):
        assert scene.taken() == 1
        if repaired:
            scene.check()
        assert invariant.faults(scene.site.gridmapdir) == []
        scene.release("Anna")
        assert scene.taken() == 1
        scene.free()
        everybody_is_lent_an_account(scene)


@pytest.mark.parametrize("repaired", [True, False])
def test_freeing_killed_anywhere_leaves_an_account_that_is_taken_or_free(memory, repaired):
    for scene in every_kill(memory, cooling, lambda scene: scene.free()):
        if repaired:
            scene.check()
        assert invariant.faults(scene.site.gridmapdir) == []
        assert scene.map("Bela").account != scene.map("Anna").account
        scene.free()
        everybody_is_lent_an_account(scene)


def everybody_is_lent_an_account(scene: Scene) -> None:
    """All accounts can be had again, and by whom they are held is in order."""
    assert sorted(scene.map(name).account for name in ("Anna", "Bela", "Chen")) == list(ACCOUNTS)
    scene.sound()
