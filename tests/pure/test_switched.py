"""Who asks about a time in which hooks were off must be told that nobody can know."""

from __future__ import annotations

from typing import Any

import pytest

from gridwarden.accounting import switched


def switch(action: str, time: int, since: int, until: int | None = None, **more: str) -> dict[str, Any]:
    body = {"kind": "switch", "part": "hooks", "because": "why", "node": "n1", "action": action}
    return {**body, "time": time, "since": since, "until": until, **more}


OFF, ON = switch("off", 10, 10), switch("on", 20, 10, 20)


@pytest.mark.parametrize(
    ("bodies", "since", "until", "found"),
    [
        ([OFF, ON], 15, 16, 1),
        ([ON, OFF], 15, 16, 1),
        ([OFF], 1000, 1001, 1),
        ([OFF, ON], 20, 30, 0),
        ([OFF, ON], 5, 30, 0),
        ([OFF, ON], 1, 5, 0),
        ([OFF, switch("on", 20, 10, node="n2")], 25, 26, 1),
        ([switch("off", 10, 10, until=18)], 15, 16, 1),
        ([switch("off", 10, 10, until=18)], 18, 19, 0),
        ([switch("off", 10, 10, part="prune")], 15, 16, 0),
        ([OFF, ON, switch("off", 30, 30)], 40, 41, 1),
        ([OFF, switch("off", 12, 12), switch("on", 20, 12)], 15, 16, 2),
    ],
)
def test_a_time_within_is_a_gap_and_no_other(bodies: list[Any], since: int, until: int, found: int) -> None:
    gaps = switched.gaps(bodies, since, until)
    assert len(gaps) == found
    assert all(gap["reason"] == "hooks switched off: why" for gap in gaps)
