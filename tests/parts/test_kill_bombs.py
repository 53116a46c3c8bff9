"""No fork bomb outruns the pruner, and nobody beside it is hurt; the bombs are in tests/proof."""

from __future__ import annotations

import os

import pytest

from tests.proof import LONG, bombs

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root"),
    pytest.mark.skipif("GRIDWARDEN_IN_SITE" in os.environ, reason="runs on the machine itself, which has a compiler"),
]

RUNS = 20 if LONG else 2


def test_a_bomb_in_an_account_without_a_job_is_dead_and_nobody_else_is() -> None:
    runs = bombs.apart(RUNS, list(bombs.KINDS), "account")
    print(bombs.table(runs))
    assert [run for run in runs if not run.dead] == []
    assert {run.innocents for run in runs} == {bombs.INNOCENTS}
    assert {tuple(run.left) for run in runs} == {()}


def test_a_bomb_in_a_control_group_of_its_own_is_dead_and_the_live_job_of_its_account_is_not() -> None:
    runs = bombs.apart(RUNS, list(bombs.KINDS), "group")
    print(bombs.table(runs))
    assert [run for run in runs if not run.dead] == []
    assert {run.innocents for run in runs} == {bombs.INNOCENTS}


def test_a_bomb_beside_a_live_job_of_its_account_is_dead_and_the_job_is_not() -> None:
    runs = bombs.apart(RUNS, list(bombs.KINDS), "beside")
    print(bombs.table(runs))
    assert [run for run in runs if not run.dead] == []
    assert {run.innocents for run in runs} == {bombs.INNOCENTS}


def test_the_counter_shows_that_one_look_at_the_processes_is_outrun() -> None:
    runs = bombs.apart(RUNS, ["hopping", "hopping with setsid"], "naive")
    print(bombs.table(runs))
    assert [run for run in runs if not run.dead]
