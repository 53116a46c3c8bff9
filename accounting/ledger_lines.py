"""The lines of a ledger that a store does not hold yet, and whether they continue what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import chain
from gridwarden.chain import Line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gridwarden.accounting.positions import Position


def lines_after(directory: Path, position: Position) -> Iterator[Line]:
    """Yield the lines after a position, first a fault when the ledger does not continue what was collected.

    A torn last line is left for later: the next record that is written explains it.
    """
    continued = position.at == 0
    held: Line | None = None
    for line in chain.read(directory, after=max(position.at - 1, 0)):
        if held is not None:
            yield held
            held = None
        if line.seq == 0:
            held = line
            continue
        if not continued:
            continued = True
            if (line.seq, line.hash) != position:
                yield _rewritten(position, line.where)
        if line.seq > position.at:
            yield line
    if not continued:
        yield _rewritten(position, str(directory))


def _rewritten(position: Position, where: str) -> Line:
    what = f"line {position.at}, which the store holds, is gone or is another: the ledger was rewritten"
    return Line(0, "", {}, where, what)
