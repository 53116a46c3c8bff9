"""How the rows of failures are played, and of what is started anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenarios import batch
from tests.scenarios.plays import TWICE, plain
from tests.site import agent as site_agent

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.scenarios.play import Play

PAYLOAD = (
    "cd $(mktemp -d); chmod 711 .; X509_USER_PROXY=$HOME/bela.pem GLEXEC_CLIENT_CERT=$HOME/{person}.pem "
    'gridwarden-exec /bin/sh -c "ulimit -S -t 1; while :; do :; done"; true\n'
)


def hooks_off(play: Play) -> None:
    job = play.submit(held=True)
    with play.hooks_off():
        play.batch.release(job)
        play.ends(job)
    play.look_at_nodes()


def controller_restarted(play: Play) -> None:
    job = play.submit(play.waiting_to_go())
    play.runs(job)
    play.batch.restart_controller()
    play.note("meanwhile", job)
    play.go()
    play.ends(job)


def unjudged(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), node="n1")
    play.runs(job)
    play.batch.requeue(job)
    play.batch.run_again_unjudged(job)
    play.runs(job, TWICE)
    play.look()
    play.go()
    play.ends(job)


def unjudged_banned(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), node="n1")
    play.runs(job)
    play.batch.requeue(job)
    play.ban()
    play.batch.run_again_unjudged(job)
    play.runs(job, TWICE)
    agent = site_agent.start()
    try:
        play.ends(job)
    finally:
        site_agent.end(agent)
    play.look_at_nodes()


def agent_dead(play: Play) -> None:
    agent = site_agent.start()
    agent.kill()
    agent.wait()
    try:
        plain(play)
    finally:
        site_agent.clear()


def daemon_restarted(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), node="n2")
    play.runs(job)
    play.batch.restart_daemon("n2")
    play.note("meanwhile", job)
    play.look()
    play.go()
    play.ends(job)


def node_lost(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), node="n2", requeue=False)
    play.runs(job)
    play.look()
    play.batch.lose("n2")
    play.is_in(job, batch.LOST)
    play.forget_register()
    play.seen.records = play.own_records()
    play.batch.regain("n2")


def node_restarted(play: Play) -> None:
    job = play.submit(play.waiting_to_go(), node="n2")
    play.runs(job)
    play.batch.lose("n2")
    play.forget_register()
    play.lose_holder()
    play.batch.regain("n2")
    play.undo.close()  # the CE's next mapping, or the agent, has published the holder
    play.batch.run_again(job)
    play.runs(job, TWICE)
    play.go()
    play.ends(job)


def prolog_fails(choice: str) -> Callable[[Play], None]:
    """A prolog that finds no holder, by what the site chose."""

    def play_it(play: Play) -> None:
        job = play.submit(held=True, node="n2")
        play.lose_holder()
        with play.batch.choosing(on_prolog_failure=choice):
            play.batch.release(job)
            if choice in ("requeue-held", "drain"):
                play.is_in(job, batch.HELD)
                play.epilogs()
            else:
                play.ends(job)
        play.settle_nodes()

    return play_it


def epilog_fails(choice: str) -> Callable[[Play], None]:
    """An epilog that cannot write to the ledger, by what the site chose."""

    def play_it(play: Play) -> None:
        job = play.submit(play.waiting_to_go(), node="n2")
        play.runs(job)
        with play.full_ledger(), play.batch.choosing(on_epilog_failure=choice):
            play.go()
            play.ends(job)
        play.settle_nodes()

    return play_it


def ledger_fails(how: Callable[[Play], AbstractContextManager[None]], **chosen: str) -> Callable[[Play], None]:
    """A job that starts and ends while nothing can be written to the ledger."""

    def play_it(play: Play) -> None:
        job = play.submit(held=True, node="n2")
        with play.batch.choosing(**chosen), how(play):
            play.batch.release(job)
            play.ends(job)
        play.settle_nodes()

    return play_it


def pilot_job(play: Play) -> None:
    play.seen.facts["owners"] = play.hold_credentials()
    play.ends(play.submit("".join(PAYLOAD.format(person=person) for person in ("anna", "chen"))))
