"""Many processes lease, use and release the accounts of two pools that are nearly full, and are killed at it.

By hand, in the site (outside it, without LCMAPS):
``python -m tests.proof.hand_outs [--hand-outs N] [--kills N] [--recycler ours|naive|none]``
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gridwarden import pools
from gridwarden.errors import GridwardenError
from gridwarden.mapper import accounts, linking
from gridwarden.mapper.mapping import map_identity, silent
from gridwarden.mapper.site import SiteValues
from tests.gridmap import make_accounts, make_site, person
from tests.proof import invariant, lcmaps_worker, recyclers
from tests.proof.crowd import Clock, Journal

POOLS = ("cms", "atlas")
POOL_SIZE = 20
PEOPLE = 26  # a pool; a few more than it has accounts
MAPPERS, LCMAPS, RECYCLERS = 6, 2, 2


class Result(NamedTuple):
    """What a run came to.

    What must never happen, one sentence each: ``shared`` when somebody was given another's account, ``wrong`` for
    all the rest.
    """

    hand_outs: int
    new_leases: int
    by_lcmaps: int
    recycled: int
    kills: int
    pool_full: int
    refused_by_lcmaps: int
    seconds: float
    shared: list[str]
    wrong: list[str]


class Stage(NamedTuple):
    """What the actors share."""

    site: SiteValues
    users: accounts.Users
    clock: Clock
    journal: Journal


def run(
    directory: Path,
    *,
    hand_outs: int,
    kills: int,
    recycler: str,
    lcmaps: bool,
    seconds: float,
    until_shared: bool = False,
) -> Result:
    """Let everybody work until there were so many hand-outs and kills, or the time is over.

    With `until_shared`, until somebody was given another's account.
    """
    site = make_site(directory)
    names = [f"{pool}{number:03}" for pool in POOLS for number in range(1, POOL_SIZE + 1)]
    made = make_accounts(site, *names)
    for name in names:
        (site.register / name).mkdir()
    (directory / "locks").mkdir()
    stage = Stage(site, pwd if lcmaps else made, Clock(MAPPERS + LCMAPS), Journal(directory / "journal"))
    actors: dict[str, Callable[[str], None]] = {f"m{slot}": lambda me: mapper(me, stage) for slot in range(MAPPERS)}
    if lcmaps:
        actors |= {f"l{slot}": lambda me: lcmaps_mapper(me, stage) for slot in range(MAPPERS, MAPPERS + LCMAPS)}
    if recycler != "none":
        recycle = recyclers.KINDS[recycler]
        actors |= {f"r{number}": lambda _: recyclers.act(recycle, stage) for number in range(RECYCLERS)}

    started = time.monotonic()
    running = {start(me, act): me for me, act in actors.items()}
    lines: list[str] = []
    counts: Counter[str] = Counter()
    next_kill = 0.0
    while (
        until_shared or counts["hold"] < hand_outs or counts["kills"] < kills
    ) and time.monotonic() < started + seconds:
        stage.clock.tick()
        time.sleep(0.002)
        hear(stage, lines, counts)
        if until_shared and shared(lines):
            break
        if counts["kills"] < kills and counts["hold"] >= next_kill:
            next_kill += max(1, hand_outs / (kills + 1))
            process = random.choice(list(running))
            me = running.pop(process)
            end(process)
            hear(stage, lines, counts)
            clear_up_after(me, stage, lines)
            running[start(me, actors[me])] = me
            counts["kills"] += 1
        for process in list(running):
            if os.waitpid(process, os.WNOHANG)[0]:
                stage.journal.write("wrong", running.pop(process), "ended of itself")
    for process in running:
        end(process)
    hear(stage, lines, counts)
    wrong = [line for line in lines if line.startswith(("wrong", "faulty"))]
    recyclers.repair(stage)
    wrong += invariant.faults(site.gridmapdir)
    return Result(
        hand_outs=counts["hold"],
        new_leases=counts["new"],
        by_lcmaps=sum(line.startswith("hold l") for line in lines),
        recycled=counts["recycled"],
        kills=counts["kills"],
        pool_full=counts["full"],
        refused_by_lcmaps=counts["theirs"],
        seconds=round(time.monotonic() - started, 1),
        shared=shared(lines),
        wrong=wrong,
    )


def hear(stage: Stage, lines: list[str], counts: Counter[str]) -> None:
    """Take in what was written in the journal since the last time."""
    news = stage.journal.news()
    lines += news
    counts.update(line.split(" ", 1)[0] for line in news)


def shared(lines: list[str]) -> list[str]:
    """Who was given another's account."""
    return invariant.overlaps([line for line in lines if line.split(" ", 1)[0] in ("hold", "left")])


def mapper(me: str, stage: Stage) -> None:
    """Ask for an account as gridwarden does, for ever."""
    slot = int(me[1:])
    pause = linking.pause

    def pause_and_look_again() -> None:
        pause()
        stage.clock.sets_out(slot)  # nothing was promised yet: what is handed out is looked at after this

    linking.pause = pause_and_look_again
    while True:
        pool, who = somebody("P")
        stage.clock.sets_out(slot)
        before = invariant.free_since(stage.site.gridmapdir)
        try:
            lease = map_identity(who, stage.site, silent, stage.users)
        except GridwardenError as refused:
            free = invariant.free_throughout(before, invariant.free_since(stage.site.gridmapdir))
            idle = [account for account in free if pools.is_of_pool(account, pool)]
            full = str(refused).startswith("pool-full") and not idle
            stage.journal.write(*(["full"] if full else ["wrong", me, f"{who.subject} {refused} though {idle} free"]))
            stage.clock.arrived(slot)
            continue
        if lease.created:
            stage.journal.write("new")
        work(me, stage, who.subject.rsplit("=")[-1], lease.account)


def lcmaps_mapper(me: str, stage: Stage) -> None:
    """Ask for an account as the real LCMAPS does, for ever."""
    slot = int(me[1:])
    ask = lcmaps_worker.open_library(stage.site.gridmapdir)
    while True:
        _, who = somebody(random.choice("PL"))
        stage.clock.sets_out(slot)
        account = ask(who.subject, who.fqans)
        if account:
            work(me, stage, who.subject.rsplit("=")[-1], account)
        else:
            stage.journal.write("theirs")
            stage.clock.arrived(slot)


def somebody(kind: str):
    """A pool, and one of its people."""
    pool = random.choice(POOLS)
    return pool, person(f"{kind}{pool}{random.randrange(PEOPLE if kind == 'P' else 4)}", (f"/{pool}",))


def work(me: str, stage: Stage, who: str, account: str) -> None:
    """A job of `who`: on its way for a moment, then seen in the register, then over."""
    stage.journal.write("hold", me, who, account)
    time.sleep(random.uniform(0, 0.004))
    job = stage.site.register / account / me
    job.touch()
    stage.clock.arrived(int(me[1:]))
    time.sleep(random.uniform(0, 0.004))
    stage.journal.write("left", me, who, account)
    job.unlink()


def start(me: str, act: Callable[[str], None]) -> int:
    """A process that acts until it is killed; its id, which is also that of its group."""
    process = os.fork()
    if process:
        return process
    try:
        os.setpgid(0, 0)
        random.seed()
        act(me)
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
    os._exit(1)


def end(process: int) -> None:
    """Kill a process and what it started, at once."""
    for kill in (os.killpg, os.kill):
        try:
            kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(process, 0)


def clear_up_after(me: str, stage: Stage, lines: list[str]) -> None:
    """What the end of a job does on a node: `me` was killed, so nobody works in its name any more."""
    last = next((line for line in reversed(lines) if line.split(" ")[:2] in (["hold", me], ["left", me])), "")
    if last.startswith("hold"):
        _, _, who, account = last.split(" ")
        stage.journal.write("left", me, who, account)
        (stage.site.register / account / me).unlink(missing_ok=True)
    if me[0] != "r":
        stage.clock.arrived(int(me[1:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hand-outs", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--recycler", choices=[*recyclers.KINDS, "none"], default="ours")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        result = run(Path(directory), lcmaps="GRIDWARDEN_IN_SITE" in os.environ, **vars(arguments))
    shown = {"shared": result.shared[:10], "wrong": result.wrong[:10]}
    counted = {"shared_in_all": len(result.shared), "wrong_in_all": len(result.wrong)}
    print(json.dumps(result._asdict() | shown | counted, indent=1))
    return bool(result.shared or result.wrong)


if __name__ == "__main__":
    sys.exit(main())
