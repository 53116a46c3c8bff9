"""A uid is an account's when subuid(5) lends it to that account alone; the system's and shared ones are nobody's."""

from __future__ import annotations

import pytest

from gridwarden.prune.lent import parse

LENT_TWICE = "they are lent to more than one: cms001, cms002"


@pytest.mark.parametrize(
    ("text", "lent", "refused"),
    [
        (b"", [], []),
        (b"cms001:100000:65536\n", [(100000, 165535, "cms001")], []),
        (b"20001:100000:1", [(100000, 100000, "20001")], []),
        (b"cms002:300000:10\ncms001:100000:10\n", [(100000, 100009, "cms001"), (300000, 300009, "cms002")], []),
        (b"cms001:100000:10\ncms001:100005:10\n", [(100000, 100014, "cms001")], []),
        (b"cms001:100000:10\ncms002:100009:10\n", [], [(100000, 100018, LENT_TWICE)]),
        (b"cms001:100000:10\ncms002:100010:10\n", [(100000, 100009, "cms001"), (100010, 100019, "cms002")], []),
        (b"cms001:999:2\n", [], [(999, 1000, "it lends cms001 uids that are the system's")]),
        (b"cms001:0:4294967295\n", [], [(0, 4294967294, "it lends cms001 uids that are the system's")]),
        (b"cms001:65000:1000\n", [], [(65000, 65999, "it lends cms001 uids that are the system's")]),
        (b"cms001:4294967290:9\n", [], [(4294967290, 4294967298, "it lends cms001 uids that are the system's")]),
        (b"# no\n:1:2\ncms001\ncms001:\ncms001:x:1\ncms001:5000:-1\ncms001:5000:0\ncms001:\xb2000:1\n", [], []),
    ],
)
def test_a_range_is_lent_or_refused_and_never_two_peoples(text, lent, refused) -> None:
    assert parse(text) == (lent, refused)


def test_one_broken_line_takes_nobody_elses_uids_away() -> None:
    lent, refused = parse(b"cms001:1:4000000000\ncms002:200000:65536\n")
    assert lent == [(200000, 265535, "cms002")]
    assert len(refused) == 1
