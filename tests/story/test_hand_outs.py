"""Crowds, kills, a recycler and the real LCMAPS in one directory; the long form hands out 100 000 times."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.proof import LONG, hand_outs


@pytest.fixture
def memory():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_nobody_is_given_anothers_account_by_many_who_are_killed_at_it(memory):
    many, kills = (100_000, 100) if LONG else (2000, 20)
    result = hand_outs.run(memory, hand_outs=many, kills=kills, recycler="ours", lcmaps=True, seconds=7200)
    print(result)

    assert result.shared == []
    assert result.wrong == []
    assert result.hand_outs >= many
    assert result.kills == kills
    assert result.recycled > many / 20
    assert result.by_lcmaps > many / 200


def test_the_same_crowd_catches_a_recycler_that_checks_and_then_unlinks(memory):
    """The control: without it, a proof that finds nothing would prove nothing."""
    result = hand_outs.run(
        memory, hand_outs=1000, kills=0, recycler="naive", lcmaps=True, seconds=300, until_shared=True
    )
    assert result.shared
