"""SIGKILL at the system calls of mappings, releases and repairs, then `lease check --repair`: nothing is left to do."""

from __future__ import annotations

import os

from gridwarden.mapper import cooling
from gridwarden.mapper.encoding import lease_name
from tests.gridmap import lcmaps_links, person
from tests.proof import LONG, invariant
from tests.proof.scene import every_kill

STEP = 1 if LONG else 41


def test_a_mapping_that_was_killed_anywhere_leaves_nothing_that_check_cannot_repair(memory):
    for scene, _ in every_kill(memory, lambda _: None, lambda scene: scene.map("Anna"), STEP):
        scene.nothing_is_left()
        assert scene.map("Anna").account != scene.map("Bela").account
        scene.nothing_is_left()


def test_a_release_that_was_killed_anywhere_leaves_nothing_that_check_cannot_repair(memory):
    for scene, lease in every_kill(memory, lambda scene: scene.map("Anna"), lambda scene: scene.release("Anna"), STEP):
        scene.nothing_is_left()
        assert lease.account not in invariant.free_since(scene.site.gridmapdir)
        assert scene.map("Bela").account != lease.account
        scene.nothing_is_left()


def released(scene):
    lease = scene.map("Anna")
    scene.release("Anna")
    return lease


def test_an_account_that_was_being_freed_at_a_kill_leaves_nothing_that_check_cannot_repair(memory):
    for scene, lease in every_kill(memory, released, lambda scene: scene.free(), STEP):
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
    for scene, held in every_kill(memory, everything_wrong, lambda scene: scene.check(), STEP):
        scene.nothing_is_left()
        for name, lease in held.items():
            now = scene.map(name)
            assert (now.account, now.lease_id, now.created) == (lease.account, lease.lease_id, False)
        names = {path.name for path in scene.site.gridmapdir.iterdir()}
        assert len([name for name in names if name.startswith(cooling.PREFIX)]) == 1
        assert lease_name(person("Nobody").subject) not in names
        assert not [name for name in names if "withdrawn" in name]
