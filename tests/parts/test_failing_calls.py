"""System calls of mappings, releases and repairs that fail: a full disk, a dead one, one that is read-only, a lost server.

Whatever fails, and for how long: it ends with an error of ours, nothing is handed out that does not stand, and once
the file system works again nothing is left that a repair cannot mend.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil

import pytest

from gridwarden import holders, ledger
from gridwarden.mapper.encoding import lease_name
from tests.gridmap import bodies, lcmaps_links, person
from tests.parts.test_check_kills import everything_wrong
from tests.proof import LONG, invariant, refuser
from tests.proof.scene import Scene

STEP = 1 if LONG else 19
WAYS = {
    "one call answers EIO": {"error": errno.EIO, "lasting": False, "writing_only": False},
    "the server is lost": {"error": errno.ESTALE, "lasting": True, "writing_only": False},
    "one write finds the disk full": {"error": errno.ENOSPC, "lasting": False, "writing_only": True},
    "the disk is full": {"error": errno.ENOSPC, "lasting": True, "writing_only": True},
    "it is mounted read-only": {"error": errno.EROFS, "lasting": True, "writing_only": True},
}


@pytest.fixture(autouse=True)
def proc_does_not_fail_with_a_disk(monkeypatch):
    monkeypatch.setattr(ledger, "boot_id", lambda: "boot")


def every_failure(directory, way, set_up, work, steps=STEP):
    """The scene, what `set_up` made and whether `work` ended well, for a failure at each call (in short, at some)."""
    step = max(1, steps // 5) if way["writing_only"] else steps  # there are fewer
    for first in itertools.count(random.randrange(step), step):
        scene = Scene(directory / str(first))
        known = set_up(scene)
        ending, failed = refuser.ends(lambda: work(scene), first=first, **way)  # noqa: B023 - runs in this turn
        assert ending in {refuser.DONE, refuser.REFUSED}, f"call {first}: no error of ours"
        yield scene, known, ending == refuser.DONE
        scene.nothing_is_left()
        assert scene.map("Anna").account != scene.map("Bela").account
        shutil.rmtree(directory / str(first))
        if not failed:
            break


def nothing(_):
    pass


def held(scene):
    return scene.map("Anna")


def held_through_lcmaps(scene):
    lcmaps_links(scene.site, "cms002", person("Anna"))


def released(scene):
    lease = scene.map("Anna")
    scene.release("Anna")
    return lease


@pytest.mark.parametrize("set_up", [nothing, held, held_through_lcmaps])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_mapping_hands_out_what_stands_and_is_recorded_or_nothing(memory, way, set_up):
    for scene, _, handed_out in every_failure(memory, way, set_up, lambda scene: scene.map("Anna")):
        if handed_out:
            lease = scene.site.gridmapdir / lease_name(person("Anna").subject)
            (account,) = [name for name in scene.users.uids if lease.samefile(scene.site.gridmapdir / name)]
            assert os.stat(lease).st_nlink == 2
            holder = holders.read(scene.site.holders, account)
            assert holder.lease in {record["lease"] for record in bodies(scene.site, "lease")}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_account_whose_release_fails_is_not_lent_to_the_next(memory, way):
    for scene, lease, _ in every_failure(memory, way, held, lambda scene: scene.release("Anna")):
        assert lease.account not in invariant.free_since(scene.site.gridmapdir)
        assert scene.map("Bela").account != lease.account


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_account_whose_freeing_fails_is_taken_or_free(memory, way):
    for scene, lease, _ in every_failure(memory, way, released, lambda scene: scene.free()):
        assert invariant.faults(scene.site.gridmapdir) == []
        scene.free()
        assert lease.account in invariant.free_since(scene.site.gridmapdir)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_repair_that_fails_is_ended_by_the_next_and_nobody_loses_a_lease(memory, way):
    for scene, leases, _ in every_failure(memory, way, everything_wrong, lambda scene: scene.check(), 8 * STEP - 7):
        scene.nothing_is_left()
        for name, lease in leases.items():
            assert scene.map(name)[:4] == lease[:4]
