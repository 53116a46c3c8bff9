"""Whose message is read next: one uid's flood takes nobody else's turn."""

from __future__ import annotations

from gridwarden.hooks.agent.limits import Bucket, Turns


def served(turns, now, count):
    return [item for _ in range(count) if (item := turns.take(now)) is not None]


def test_everybody_who_waits_is_served_before_anybody_a_second_time():
    turns = Turns(100, 1)
    for number in range(50):
        turns.add(1000, f"flood {number}", 0)
    turns.add(1001, "anna", 0)
    turns.add(1002, "bela", 0)
    assert served(turns, 0, 5) == ["flood 0", "anna", "bela", "flood 1", "flood 2"]


def test_who_is_beyond_a_rate_waits_and_the_others_do_not():
    turns = Turns(2, 1)
    for number in range(5):
        turns.add(1000, number, 0)
    assert served(turns, 0, 5) == [0, 1]
    turns.add(1001, "anna", 0)
    assert served(turns, 0, 5) == ["anna"]
    assert turns.seconds(0) == 1
    assert served(turns, 3, 5) == [2, 3]


def test_a_clock_that_is_set_back_gives_nothing_and_stops_nobody_for_longer_than_a_turn():
    bucket = Bucket(1, 1, 1000)
    bucket.take()
    assert not bucket.has(0)
    assert bucket.seconds(0) == 1
    assert bucket.has(1001)


def test_a_connection_that_is_closed_has_no_turn_any_more():
    turns = Turns(2, 1)
    turns.add(1000, "closed", 0)
    turns.remove(1000, "closed")
    assert turns.take(0) is None
    assert turns.seconds(0) is None


def test_uids_that_were_seen_once_are_forgotten_and_floods_that_are_not_told_of_yet_are_not():
    turns = Turns(2, 1)
    for uid in range(1000, 1010):
        turns.add(uid, uid, 0)
    served(turns, 0, 10)
    turns.of(1000, 0).drop(3, 0)
    turns.forget_idle(0)
    assert len(list(turns.everyone())) == 10
    turns.forget_idle(100)
    assert [own.uid for own in turns.everyone()] == [1000]
