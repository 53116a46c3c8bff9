"""Who takes accounts from people without a job, so that others can have them."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gridwarden import holders
from gridwarden.errors import BadQuestion, Refused
from gridwarden.ledger import boot_id
from gridwarden.mapper import cooling, nodes, release
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.mapper.repair import check_directory
from gridwarden.mapper.terms import HOUR, Terms

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.mapper.accounts import Account
    from gridwarden.mapper.site import SiteValues
    from tests.proof.hand_outs import Stage

SPARE = 8  # of the accounts of a pool: those that are free, and those that cool


def naive(stage: Stage) -> None:
    """The control: look whether a job runs under an account, and if not, unlink its lease."""
    for name, account in wanted(stage):
        if is_idle(stage, account):
            with suppress(FileNotFoundError):  # another was faster
                os.unlink(stage.site.gridmapdir / name)
                holders.remove(stage.site.holders, account)
            stage.journal.write("recycled")


def ours(stage: Stage) -> None:
    """Release one that is idle by gridwarden's protocol, answer as the node, and free what has cooled."""
    site, now = stage.site, stage.clock.now
    terms = terms_of(site)

    def ask(account: Account) -> str:
        return "" if is_idle(stage, account.name) else "a job of theirs runs"

    def hand_over(_: Account, __: str) -> str:
        return ""

    for name, _ in wanted(stage):
        with suppress(BadQuestion, Refused):  # it went meanwhile
            release.release(name, "idle", "proof", site, terms, ask, now, users=stage.users)
    with Gridmapdir(site.gridmapdir) as directory:
        answers = [
            nodes.Answer(account, lease, "" if is_idle(stage, account) else "a job of theirs runs")
            for account, lease, _ in cooling.find(directory)
        ]
        nodes.write(directory, nodes.Said(site.node, boot_id(), now(), tuple(answers)))
    for outcome in release.free(site, terms, ask, hand_over, now, users=stage.users):
        if outcome.state == release.FREED:
            stage.journal.write("recycled")
        elif outcome.state == release.FAULTY:
            stage.journal.write("faulty", outcome)


def terms_of(site: SiteValues) -> Terms:
    """An hour of cooling, and the answer of this machine."""
    locks = site.gridmapdir.parent / "locks"
    return Terms(HOUR, HOUR, HOUR, (site.node,), locks, (), "", "/nowhere", "/nowhere")


def act(recycle, stage: Stage) -> None:
    """Recycle for ever."""
    while True:
        time.sleep(0.002)
        recycle(stage)


def is_idle(stage: Stage, account: str) -> bool:
    """Whether no job runs under an account, as far as can be seen."""
    return not os.listdir(stage.site.register / account)


def wanted(stage: Stage) -> list[tuple[str, str]]:
    """As many leases and their accounts as must end so that each pool keeps some to lend; any of those."""
    taken = leases(stage.site.gridmapdir)
    random.shuffle(taken)
    of_pool = [[(name, account) for name, account in taken if account.startswith(pool)] for pool in ("cms", "atlas")]
    return [lease for pool in of_pool for lease in pool[: max(0, len(pool) + SPARE - 20)]]


def leases(gridmapdir: Path) -> list[tuple[str, str]]:
    """Every lease and its account."""
    inodes = {entry.name: entry.inode() for entry in os.scandir(gridmapdir)}
    accounts = {inode: name for name, inode in inodes.items() if name[0] not in "%."}
    return [(name, accounts[inode]) for name, inode in inodes.items() if name[0] == "%" and inode in accounts]


def repair(stage: Stage) -> None:
    """`gridwarden lease check --repair`."""
    check_directory(stage.site, ("cms", "atlas"), repair=True, users=stage.users)


KINDS = {"ours": ours, "naive": naive}
