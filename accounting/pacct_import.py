"""Bring a file of process accounting into the store: as the other files, but in pieces of many records.

Such a file does not say whose it is.  A record that the store has already, from a file that overlaps with this one, is
counted as ignored.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import file_progress, pacct, partitions, positions, processes
from gridwarden.accounting.file_progress import Counts
from gridwarden.accounting.log_files import WITNESS
from gridwarden.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridwarden.accounting.log_files import Log
    from gridwarden.accounting.store import Store

KIND = "pacct"
ENTRY = "record"
KNOWN = "in the store already"
_END = processes.OF_PACCT.index("end")
PIECE = 4 << 20  # bytes: 65 536 records in a transaction; with more of them it is hardly faster


class Taken(NamedTuple):
    """What a file gave now, and in all: as ``imports.Imported``, which is made of it."""

    counts: Counts
    whole: Counts
    ignored: dict[str, int]
    fresh_faults: list[str]
    unfinished: bool


def take(
    store: Store, log: Log, node: str, *, now: int, progress: Callable[[str, int], None], dry_run: bool = False
) -> Taken:
    """Import what the store has not of a file, of the processes of ``node``; raises as ``imports.import_log``."""
    stem = log.name.rpartition("/")[2].partition(".")[0]
    first = next(log.chunks(), b"")[: pacct.RECORD.size]
    source = f"{positions.FILE}{sha256(f'{node}/{stem}/'.encode() + first).hexdigest()}"
    stored, at, tail, before = file_progress.begin(store, source, log)
    whole = before
    ignored = 0
    fresh: list[str] = []
    held = b""
    for piece in _pieces(log, at):
        held += piece
        chunk = pacct.parse(held, node)
        if len(piece) < PIECE and log.compressed and chunk.length < len(held):  # nobody will write the rest
            cut = pacct.Odd(chunk.length, 1, "it was cut short")
            chunk = chunk._replace(odd=[*chunk.odd, cut], length=len(held))
        if not chunk.length:
            continue
        tail = (tail + held[: chunk.length])[-WITNESS:]
        reached = file_progress.reached(at + chunk.length, tail)
        partitions.make_room(store, (int(row[_END]) for row in chunk.rows), now, partitions.PROCESSES)
        with store.transaction() as connection:
            if positions.claim(connection, source) != stored and not dry_run:
                raise Unavailable(
                    f"{log.name}: another gridwarden collect reads it now", "run it again when that has ended"
                )
            put = processes.put(connection, processes.OF_PACCT, chunk.rows)
            odd = sum(run.entries for run in chunk.odd)
            counts = Counts(len(chunk.rows) + odd, put, odd, len(chunk.rows) - put)
            whole = Counts(*(a + b for a, b in zip(whole, counts, strict=True)))
            faults = [(f"{log.name}, byte {at + run.offset}", run.reason) for run in chunk.odd]
            fresh += positions.add_faults(connection, source, faults, now)
            file_progress.remember(connection, log, source, KIND, whole, now=now, whole=False)
            positions.set_position(connection, source, reached)
        stored, at, held = reached, at + chunk.length, held[chunk.length :]
        ignored += counts.ignored
        progress(log.name, log.bytes_read())
    with store.transaction() as connection:
        file_progress.remember(connection, log, source, KIND, whole, now=now, whole=not held)
    read = Counts(*(a - b for a, b in zip(whole, before, strict=True)))
    return Taken(read, whole, {KNOWN: ignored} if ignored else {}, fresh, bool(held))


def _pieces(log: Log, offset: int) -> Iterator[bytes]:
    """Yield the file from the offset on in pieces of one size, but for the last."""
    held = b""
    for chunk in log.chunks(offset):
        held += chunk
        while len(held) >= PIECE:
            yield held[:PIECE]
            held = held[PIECE:]
    if held:
        yield held
