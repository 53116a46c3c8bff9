"""One thing that is amiss, and how a monitoring system is told of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden import tab_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.sharing import Risk

NOTE, WARNING, CRITICAL = SEVERITIES = ("note", "warning", "critical")
NAGIOS = {NOTE: (0, "OK"), WARNING: (1, "WARNING"), CRITICAL: (2, "CRITICAL")}
"""Exit codes of the monitoring plug-ins' guidelines; a note is for people."""

MOST_ROWS = 5  # of one kind; more are only counted


class Finding(NamedTuple):
    """What is amiss, in a word and a sentence, how much that matters, and the command that mends it."""

    kind: str
    severity: str
    detail: str
    remedy: str


def of_risk(risk: Risk) -> Finding:
    """A finding of the parts that know no severity."""
    return Finding(risk.kind, WARNING, risk.detail, risk.remedy)


def worst(found: Sequence[Finding]) -> str:
    """The severest that there is."""
    return max((one.severity for one in found), key=SEVERITIES.index, default=NOTE)


def nagios(found: Sequence[Finding]) -> tuple[str, int]:
    """The line and the exit code of a Nagios plug-in."""
    code, word = NAGIOS[worst(found)]
    told = [one for one in found if one.severity != NOTE]
    text = "; ".join(f"{one.kind}: {one.detail}" for one in told) or "nothing is amiss, as far as this machine can tell"
    counts = " ".join(f"{name}={sum(one.severity == name for one in found)}" for name in (CRITICAL, WARNING))
    return f"GRIDWARDEN {word} - {tab_file.escape(text).replace('|', '/')} | {counts}", code


def few(found: list[Finding]) -> list[Finding]:
    """The first of many findings of one kind, and how many more there are."""
    if len(found) <= MOST_ROWS:
        return found
    last = found[MOST_ROWS - 1]
    return [*found[: MOST_ROWS - 1], last._replace(detail=f"{last.detail}; and {len(found) - MOST_ROWS} more like it")]
