"""What a ledger has beyond the store, verified, in batches of rows as the store takes them; nothing of the store is asked.

A batch goes on where the one before it ended: each is of use only to a store that has come exactly so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import rows, schema
from gridwarden.accounting.job_runs import OpenRuns, Run, Seen, number, text
from gridwarden.accounting.ledger_lines import lines_after
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gridwarden.accounting.positions import Position
    from gridwarden.chain import Line

BATCH_LINES = 10_000  # each commit changes the same pages of the indexes again
BATCH_BYTES = 16 << 20  # of records: whoever is root on a node can make each of them 64 KiB
COLUMNS = (
    "ledger", "seq", "hash", "digest", "time", "pid", "body", "kind", "node", "cluster", "account", "lease",
)  # fmt: skip
_OF_BODY = COLUMNS[-5:]
_TIME, _NODE = COLUMNS.index("time"), COLUMNS.index("node")
_DAY = 86_400 * MICROSECONDS
_LONGEST_PLAIN = 128


class Known(NamedTuple):
    """What the store has of a ledger: how far it came, when the last record was, what it saw, and the runs without end."""

    position: Position
    time: int
    seen: Seen
    runs: list[Run]


class Batch(NamedTuple):
    """Rows of ``records`` (as ``COLUMNS``) and of ``job_runs`` (as ``Run``), and what else comes with them.

    ``days`` are beginnings of the days that the records are of, ``faults`` pairs of a place and a sentence; ``at`` and ``head``
    are the position that the batch brings the store to.
    """

    records: list[rows.Values]
    runs: list[rows.Values]
    nodes: set[str]
    days: set[int]
    faults: list[tuple[str, str]]
    at: int
    head: str


def read(directory: Path, identifier: str, known: Known) -> Iterator[Batch]:
    """Yield the batches of what stands in the ledger now; raises as ``chain.read``."""
    runs = OpenRuns(identifier, known.runs, known.seen)
    (at, head), time = known.position, known.time
    records: list[rows.Values] = []
    faults: list[tuple[str, str]] = []
    size = 0
    for line in lines_after(directory, known.position):
        if line.fault:
            faults.append((line.where, line.fault))
        if line.seq:
            at, head, time = line.seq, line.hash, number(line.body, "time") or time
            records.append(_row(identifier, line, time))
            runs.add(line.seq, line.body)
        size += len(line.text)
        if len(records) + len(faults) >= BATCH_LINES or size >= BATCH_BYTES:
            yield _batch(records, runs, faults, at, head)
            records, faults, size = [], [], 0
    if records or faults:
        yield _batch(records, runs, faults, at, head)


def _batch(records: list[rows.Values], runs: OpenRuns, faults: list[tuple[str, str]], at: int, head: str) -> Batch:
    nodes = {row[_NODE] for row in records} - {None}
    days = {row[_TIME] // _DAY * _DAY for row in records}
    return Batch(records, [_row_of(run) for run in runs.take_changed()], nodes, days, faults, at, head)


def _row(identifier: str, line: Line, time: int) -> rows.Values:
    body = line.body
    pid = number(body, "pid") or None if "pid" in body else None
    found = [body.get(column) or None for column in _OF_BODY]
    odd = "\\" in line.text  # JSON without one holds neither NUL nor half a pair of surrogates
    for value in found:
        odd = odd or (value is not None and (type(value) is not str or len(value) > _LONGEST_PLAIN))
    if odd:
        kept = rows.storable(schema.records, {column: text(body, column) or None for column in _OF_BODY})
        found = [kept[column] for column in _OF_BODY]
    return (identifier, line.seq, line.hash, line.digest, time, pid, line.text or None, *found)


def _row_of(run: Run) -> rows.Values:
    if all(
        type(value) is not str or (len(value) <= _LONGEST_PLAIN and value.isascii() and "\0" not in value)
        for value in run
    ):
        return tuple(run)
    return tuple(rows.storable(schema.job_runs, run._asdict()).values())
