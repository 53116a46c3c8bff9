"""How each row is played: its steps, which the batch system's adapter performs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proof import LONG
from tests.scenarios import batch
from tests.scenarios.steps import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scenarios.play import Play

BACK_TO_BACK = 1000 if LONG else 30
TWICE = 2
LEFT_BEHIND = "(setsid sleep 7201 >/dev/null 2>&1 &)\n"


def plain(play: Play) -> None:
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.look()
    play.go()
    play.ends(job)


def stamped(play: Play) -> None:
    job = play.submit_directly(held=True)
    play.look_at_stamp(job)
    play.batch.release(job)
    play.ends(job)


def two_nodes(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), nodes=2)
    play.runs(job)
    play.go()
    play.ends(job)


def requeued(play: Play) -> None:
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.batch.requeue(job)
    play.batch.run_again(job)
    play.runs(job, TWICE)
    play.go()
    play.ends(job)


def suspended(play: Play) -> None:
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.batch.suspend(job)
    play.is_in(job, batch.SUSPENDED)
    play.note("suspended", job)
    play.look()
    play.batch.resume(job)
    play.go()
    play.ends(job)


def cancelled_waiting(play: Play) -> None:
    job = play.submit(held=True)
    play.batch.cancel(job)
    play.ends(job)


def cancelled_running(play: Play) -> None:
    job = play.submit(LEFT_BEHIND + play.waiting_to_go())
    play.runs(job)
    play.look()
    play.batch.cancel(job)
    play.ends(job)


def banned_before(play: Play) -> None:
    play.ban()
    play.is_refused(play.submit)
    play.is_refused(play.submit_directly)


def banned_between(play: Play) -> None:
    job = play.submit(held=True)
    play.ban()
    play.batch.release(job)
    play.ends(job)
    play.look_at_nodes()


def banned_running(play: Play) -> None:
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.ban()
    play.is_refused(play.submit)
    play.note("meanwhile", job)
    play.look()
    play.go()
    play.ends(job)


def banned_at_once(play: Play) -> None:
    waiting = play.submit(held=True)
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.look()
    play.ban("--now")
    play.ends(job)
    play.ends(waiting)
    play.look_at_nodes()


def lease_goes(change: Callable[[Play], None]) -> Callable[[Play], None]:
    """The lease goes while one job of the account runs and another waits."""

    def play_it(play: Play) -> None:
        job, waiting = play.submit(play.waiting_to_go()), play.submit(held=True)
        play.runs(job)
        change(play)
        play.look()
        play.go()
        play.epilogs()
        play.batch.release(waiting)
        play.ends(waiting)

    return play_it


def full_pool(play: Play) -> None:
    play.fill_pool("atlas")
    play.is_refused(play.submit)


def local_user(play: Play) -> None:
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.look()
    play.seen.facts["extra"] = play.batch.stamp(job) if play.batch.has_stamps else "mine"
    play.go()
    play.ends(job)


def stamp_changed(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), held=True)
    tries = [play.batch.change_stamp(job, play.account)]
    play.batch.release(job)
    play.runs(job)
    tries.append(play.batch.change_stamp(job, play.account))
    play.seen.told += [said for one in tries for said in one]
    play.seen.facts["tries"] = 3 * len(tries)
    play.look_at_stamp(job)
    play.go()
    play.ends(job)


def two_jobs(play: Play) -> None:
    first = play.submit(LEFT_BEHIND + play.until_run(TWICE), node="n1")
    play.runs(first)
    second = play.submit(play.waiting_to_go(), node="n1")
    play.runs(second, TWICE)
    play.recorded("job_end", job=first)
    play.note("first over", second)
    play.look()
    play.go()
    play.ends(second)


def array(tasks: int, script: str) -> Callable[[Play], None]:
    """All tasks of an array, to their end."""
    return lambda play: play.ends(play.submit(script, tasks=tasks), PATIENCE + tasks)


def holder_damaged(play: Play) -> None:
    play.damage_holder()
    job = play.submit_directly()
    play.note("submitted", job)
    play.batch.release(job)
    play.ends(job)
