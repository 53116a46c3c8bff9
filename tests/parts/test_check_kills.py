"""SIGKILL at the system calls of mappings, releases and repairs, then `lease check --repair`: nothing is left to do."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from gridwarden import chain
from gridwarden.mapper import cooling, release, repair
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.terms import HOUR, Terms
from tests.gridmap import lcmaps_links, make_accounts, make_site, person
from tests.proof import LONG, invariant
from tests.proof.stepper import killed_at

START = 1_800_000_000_000_000  # µs since the epoch: these leases end on a clock of the test's own
POOLS = ("cms", "atlas")
STEP = 1 if LONG else 41


@pytest.fixture
def memory(monkeypatch):
    """Where making a file durable costs nothing; nothing else works in the directory, so nothing need settle."""
    monkeypatch.setattr(repair, "SETTLING_SECONDS", 0)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def idle(*_):
    return ""


class Scene:
    def __init__(self, directory):
        self.site = make_site(directory)
        self.users = make_accounts(self.site, *(f"cms{n:03}" for n in range(1, 9)))
        (directory / "locks").mkdir()
        self.terms = Terms(HOUR, HOUR, HOUR, (), directory / "locks", (), "", "/nowhere", "/nowhere")

    def map(self, name):
        return map_identity(person(name), self.site, silent, self.users)

    def release(self, name):
        which = lease_name(person(name).subject)
        release.release(which, "left", "test", self.site, self.terms, idle, START, users=self.users)

    def free(self):
        release.free(self.site, self.terms, idle, idle, START + 2 * HOUR, users=self.users)

    def check(self, *, repair_too=True):
        return repair.check_directory(self.site, POOLS, repair=repair_too, users=self.users)

    def nothing_is_left(self):
        self.check()
        assert [outcome for outcome in self.check(repair_too=False) if outcome.state != repair.KNOWN] == []
        assert invariant.faults(self.site.gridmapdir) == []
        assert not chain.faults(self.site.ledger)


def every_kill(directory, set_up, work):
    for call in itertools.count(random.randrange(STEP), STEP):
        scene = Scene(directory / str(call))
        known = set_up(scene)
        killed = killed_at(call, lambda: work(scene))  # noqa: B023 - runs in this turn
        yield scene, known
        shutil.rmtree(directory / str(call))
        if not killed:
            break
    assert call > 100
    print(f"killed at {'each' if STEP == 1 else 'some'} of {call} system calls")


def test_a_mapping_that_was_killed_anywhere_leaves_nothing_that_check_cannot_repair(memory):
    for scene, _ in every_kill(memory, lambda _: None, lambda scene: scene.map("Anna")):
        scene.nothing_is_left()
        assert scene.map("Anna").account != scene.map("Bela").account
        scene.nothing_is_left()


def test_a_release_that_was_killed_anywhere_leaves_nothing_that_check_cannot_repair(memory):
    for scene, lease in every_kill(memory, lambda scene: scene.map("Anna"), lambda scene: scene.release("Anna")):
        scene.nothing_is_left()
        assert lease.account not in invariant.free_since(scene.site.gridmapdir)
        assert scene.map("Bela").account != lease.account
        scene.nothing_is_left()


def released(scene):
    lease = scene.map("Anna")
    scene.release("Anna")
    return lease


def test_an_account_that_was_being_freed_at_a_kill_leaves_nothing_that_check_cannot_repair(memory):
    for scene, lease in every_kill(memory, released, lambda scene: scene.free()):
        scene.nothing_is_left()
        scene.free()
        scene.nothing_is_left()
        assert lease.account in invariant.free_since(scene.site.gridmapdir)


def everything_wrong(scene):
    """One of each fault that can be repaired; the leases that must survive it."""
    held = {name: scene.map(name) for name in ("Anna", "Bela", "Chen", "Dora", "Emil")}
    grid = scene.site.gridmapdir
    lcmaps_links(scene.site, held["Anna"].account, person("Killed"))  # three links
    (grid / held["Bela"].name).unlink()  # expired by a script
    (grid / held["Chen"].account).unlink()  # removed by hand
    (grid / ".gridwarden/leases" / held["Dora"].name).unlink()
    cold = held.pop("Emil")
    (grid / cold.name).rename(grid / f"{cooling.PREFIX}{cold.account}:{cold.lease_id}")  # a release, killed
    (grid / "cms999").touch()
    os.rename(grid / "cms999", grid / lease_name(person("Nobody").subject))  # solitary
    return held


def test_a_repair_that_was_killed_anywhere_is_ended_by_the_next_and_nobody_loses_a_lease(memory):
    for scene, held in every_kill(memory, everything_wrong, lambda scene: scene.check()):
        scene.nothing_is_left()
        for name, lease in held.items():
            now = scene.map(name)
            assert (now.account, now.lease_id, now.created) == (lease.account, lease.lease_id, False)
        names = {path.name for path in scene.site.gridmapdir.iterdir()}
        assert len([name for name in names if name.startswith(cooling.PREFIX)]) == 1
        assert lease_name(person("Nobody").subject) not in names
        assert not [name for name in names if "withdrawn" in name]
