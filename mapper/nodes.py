"""What the nodes answer when asked whether anything of a released account is left there.

The root of each node writes ``.gridwarden/nodes/NODE`` in the gridmapdir, whole and anew each time, in
``key<TAB>value`` lines: ``node``, ``boot`` (the kernel's boot id), ``time`` (µs since the epoch), and for each
cooling account one ``answer``: the account, the lease id, ``none`` or ``busy``, and why.  Only ``none`` counts,
from each node that the site names, given after the cooling time was over and not long ago; whatever is
missing, late, unreadable or from another boot of this machine means busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden import tab_file
from gridwarden.ledger import boot_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.mapper.gridmapdir import Gridmapdir

KIND = "nodes"
NONE, BUSY = "none", "busy"
LONGEST = 16 * 1024 * 1024  # an answer for each account that cools, and whole pools may


class Answer(NamedTuple):
    """What one node says of one released account; ``why`` is empty when nothing is left there."""

    account: str
    lease: str
    why: str


class Said(NamedTuple):
    """All that one node said, at ``time`` (µs since the epoch), in the boot of that id."""

    node: str
    boot: str
    time: int
    answers: tuple[Answer, ...]


def write(directory: Gridmapdir, said: Said) -> None:
    """Publish what a node says, in place of what it said before."""
    pairs = [("node", said.node), ("boot", said.boot), ("time", str(said.time))]
    for account, lease, why in said.answers:
        pairs.append(("answer", f"{account} {lease} {BUSY if why else NONE} {why}".rstrip()))
    directory.replace_own(KIND, said.node, tab_file.encode(pairs))


def read(directory: Gridmapdir, node: str) -> Said | None:
    """What ``node`` said last; None when it said nothing, or nothing that can be read."""
    try:
        values = tab_file.decode(directory.read_own(KIND, node, LONGEST) or b"")
        ((name,), (boot,), (time,)) = (values[key] for key in ("node", "boot", "time"))
        said = Said(name, boot, int(time), tuple(_answer(line) for line in values.get("answer", ())))
    except (ValueError, KeyError):
        return None
    return said if said.node == node else None


def why_busy(
    directory: Gridmapdir,
    nodes: Iterable[str],
    account: str,
    lease: str,
    *,
    after: int,
    now: int,
    longest: int,
    here: str,
) -> str:
    """Which of ``nodes`` does not say that nothing of the lease is left there, and why; empty when all do.

    Counted are answers given later than ``after`` and at most ``longest`` before ``now``, all in µs; ``here``
    is the name of this machine, whose answer must be of its present boot.
    """
    for node in nodes:
        if why := _why_not_counted(
            read(directory, node), account, lease, (max(after, now - longest), now), node == here
        ):
            return f"node {node} {why}"
    return ""


def _why_not_counted(said: Said | None, account: str, lease: str, times: tuple[int, int], is_here: bool) -> str:  # noqa: FBT001
    if said is None:
        return "has not answered"
    if not times[0] < said.time <= times[1]:
        return "has not answered lately" if said.time <= times[0] else "answers with a time to come"
    if is_here and said.boot != boot_id():
        return "was started again since it answered"
    answer = next((answer for answer in said.answers if (answer.account, answer.lease) == (account, lease)), None)
    if answer is None:
        return "does not answer for this lease"
    return f"says: {answer.why}" if answer.why else ""


def _answer(line: str) -> Answer:
    account, lease, answer, *why = line.split(" ", 3)
    if answer not in (NONE, BUSY):
        raise ValueError(f"{answer} is no answer")
    return Answer(account, lease, "".join(why) or (answer if answer == BUSY else ""))
