"""SIGKILL at every system call of whatever changes the gridmapdir, then what comes next, then the invariant."""

from __future__ import annotations

import pytest

from gridwarden import chain, holders
from tests.gridmap import holders_of_accounts, lcmaps_links, person
from tests.proof import LONG, invariant
from tests.proof.scene import Scene, every_kill

STEP = 1 if LONG else 13
ACCOUNTS = ("cms001", "cms002", "cms003")


def taken(scene: Scene) -> int:
    return len(ACCOUNTS) - len(invariant.free_since(scene.site.gridmapdir))


def sound(scene: Scene) -> None:
    """Nobody has another's account, no lease is without its evidence, and no evidence is damaged."""
    assert invariant.faults(scene.site.gridmapdir) == []
    assert not chain.faults(scene.site.ledger)
    for account, leases in holders_of_accounts(scene.site).items():
        for holder in [holders.read(scene.site.holders, account)] if leases else []:
            assert [holder.name] == leases


def nothing(_: Scene) -> None:
    pass


def held(scene: Scene) -> None:
    scene.map("Anna")


def held_before_a_restart(scene: Scene) -> None:
    holders.remove(scene.site.holders, scene.map("Anna").account)


def cooling(scene: Scene) -> None:
    scene.map("Anna")
    scene.release("Anna")


def held_through_lcmaps(scene: Scene) -> None:
    lcmaps_links(scene.site, "cms002", person("Anna"))


@pytest.mark.parametrize("set_up", [nothing, held, held_before_a_restart, held_through_lcmaps])
def test_a_mapping_killed_anywhere_gives_nobody_anothers_account(memory, set_up):
    for scene, _ in every_kill(memory, set_up, lambda scene: scene.map("Anna"), STEP, len(ACCOUNTS)):
        assert invariant.faults(scene.site.gridmapdir) == []
        people = {name: scene.map(name).account for name in ("Bela", "Anna", "Chen")}
        assert sorted(people.values()) == list(ACCOUNTS)
        assert {name: scene.map(name).account for name in people} == people
        sound(scene)


@pytest.mark.parametrize("repaired", [True, False])
@pytest.mark.parametrize("set_up", [held, held_through_lcmaps])
def test_a_release_killed_anywhere_keeps_the_account_until_it_has_cooled(memory, set_up, repaired):
    for scene, _ in every_kill(memory, set_up, lambda scene: scene.release("Anna"), STEP, len(ACCOUNTS)):
        assert taken(scene) == 1
        if repaired:
            scene.check()
        assert invariant.faults(scene.site.gridmapdir) == []
        scene.release("Anna")
        assert taken(scene) == 1
        scene.free()
        everybody_is_lent_an_account(scene)


@pytest.mark.parametrize("repaired", [True, False])
def test_freeing_killed_anywhere_leaves_an_account_that_is_taken_or_free(memory, repaired):
    for scene, _ in every_kill(memory, cooling, lambda scene: scene.free(), STEP, len(ACCOUNTS)):
        if repaired:
            scene.check()
        assert invariant.faults(scene.site.gridmapdir) == []
        assert scene.map("Bela").account != scene.map("Anna").account
        scene.free()
        everybody_is_lent_an_account(scene)


def everybody_is_lent_an_account(scene: Scene) -> None:
    """All accounts can be had again, and by whom they are held is in order."""
    assert sorted(scene.map(name).account for name in ("Anna", "Bela", "Chen")) == list(ACCOUNTS)
    sound(scene)
