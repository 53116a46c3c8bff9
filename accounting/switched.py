"""Times in which an administrator had switched a machine's hooks off, as gaps in the records: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.accounting.job_runs import number, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.accounting.job_runs import Body


def gaps(switches: Iterable[Body], since: int, until: int) -> list[Body]:
    """A gap for each such time that lasted from before ``since`` into ``since`` to ``until``; from ``switch`` records.

    One that began later has a ``gap`` record of its own there.
    """
    found: list[Body] = []
    begun: dict[str, Body] = {}
    ended: set[int] = set()
    for body in sorted(switches, key=lambda body: number(body, "time")):
        if text(body, "part") != "hooks":
            continue
        node = text(body, "node")
        if text(body, "action") == "off":
            begun[node] = body
            found.append(body)
        elif (before := begun.pop(node, None)) and number(body, "time") <= since:
            ended.add(id(before))
    return [
        {
            **body,
            "kind": "gap",
            "time": number(body, "since"),
            "what": "starts and ends of jobs on this machine",
            "reason": f"hooks switched off: {text(body, 'because')}",
        }
        for body in found
        if number(body, "since") < since < (number(body, "until") or until) and id(body) not in ended
    ]
