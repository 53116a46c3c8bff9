"""Bring the processes that the agent of this machine heard of into the store: a file at a time, as the ledger has its digest.

A file whose digest is another than the ledger says, or that is gone, is a fault: somebody altered evidence.  Its lines
are not believed, and it stays.  What was taken is removed; a file is taken, and counted, once, however often it stands in the ledger.
"""

from __future__ import annotations

import json
import os
import pwd
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from gridwarden import exit_lines, ledger, trusted
from gridwarden.accounting import partitions, positions, processes, rows, schema
from gridwarden.accounting.job_names import of_node
from gridwarden.accounting.job_runs import number, text
from gridwarden.accounting.positions import Position
from gridwarden.errors import EvidenceError
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from gridwarden.accounting.job_runs import Body
    from gridwarden.accounting.store import Store

SOURCE = "exits:"
BATCH_LINES = 20_000
LARGEST = 64 << 20
SPAN = 3600 * MICROSECONDS  # of most files
NAME = 128  # characters, as schema.Name


class Taken(NamedTuple):
    """What the files gave: rows, faults not known before, and how many are known in all."""

    source: str
    rows: int
    fresh_faults: list[str]
    known_faults: int


def take(
    store: Store, ledger_directory: Path, *, now: int, progress: Callable[[str, int], None], dry_run: bool = False
) -> Taken | None:
    """Take the files that the collected ledger names; None on a machine whose agent keeps none.

    Raises Unavailable (store), ConfigurationError, OSError (files).
    """
    directory = ledger_directory.parent / exit_lines.DIRECTORY
    if not directory.exists():
        return None
    identifier = ledger.identifier(ledger_directory)
    source = f"{SOURCE}{identifier}"
    spool = trusted.open_directory(directory)
    taken = 0
    fresh: list[str] = []
    try:
        with store.transaction() as connection:
            head = positions.position_of(connection, source).head
        if head and not dry_run:
            _remove(spool, head)  # it was taken, and a kill came between
        for seq, body in _named(store, identifier, source):
            name = text(body, "file")
            closed = number(body, "time")  # of what ended earlier, months are made as others come to them
            partitions.make_room(store, (closed - SPAN, closed), now, partitions.PROCESSES)
            with store.transaction() as connection:
                position = positions.claim(connection, source)
                if position.at >= seq and not dry_run:
                    continue  # another collector was here meanwhile
                put, faults = _take_file(connection, spool, name, body, position)
                taken += put
                fresh += positions.add_faults(
                    connection, source, [(f"{directory}/{name}", fault) for fault in faults], now
                )
                head = position.head if faults else max(position.head, name)
                positions.set_position(connection, source, Position(seq, head))
            if not dry_run and not faults:
                _remove(spool, name)
            progress(source, taken)
        with store.transaction() as connection:
            known = positions.count_faults(connection, source)
    finally:
        os.close(spool)
    return Taken(source, taken, fresh, known)


def _named(store: Store, identifier: str, source: str) -> list[tuple[int, Body]]:
    """The records of files that are still to be taken."""
    records = schema.records.c
    with store.transaction() as connection:
        position = positions.position_of(connection, source).at
        query = select(records.seq, records.body).where(
            records.ledger == identifier, records.kind == "exits", records.body.is_not(None), records.seq > position
        )
        return [(seq, json.loads(body)) for seq, body in connection.execute(query.order_by(records.seq))]


def _take_file(connection: Connection, spool: int, name: str, body: Body, position: Position) -> tuple[int, list[str]]:
    """Put a file's processes into the store; how many that were, and what is wrong."""
    try:
        data = _read(spool, name)
    except FileNotFoundError:
        # Recorded twice, and taken by the first record; names go up.
        return 0, [] if name <= position.head else ["the ledger has its digest, and it is gone"]
    except EvidenceError as error:
        return 0, [str(error)]
    if sha256(data).hexdigest() != text(body, "sha256"):
        return 0, ["its digest is not the ledger's: it was altered, and none of its lines is believed"]
    heading, _, rest = data.partition(b"\n")
    try:
        node, cluster, boot = exit_lines.parse_heading(heading)
    except ValueError as error:
        return 0, [str(error)]
    put, faults = 0, []
    for lines in rows.batches(enumerate(rest.split(b"\n")[: number(body, "lines")], 1), BATCH_LINES):
        values, odd = _rows(lines, node, cluster, boot)
        put += processes.put(connection, processes.OF_EXITS, values)
        faults += odd
    return put, faults


def _rows(
    lines: list[tuple[int, bytes]], node: str, cluster: str, boot: str
) -> tuple[list[tuple[Any, ...]], list[str]]:
    found: list[tuple[Any, ...]] = []
    faults: list[str] = []
    for expected, line in lines:
        try:
            numbers, batch, job, known_by, command = exit_lines.parse(line)
            seq, end, start, pid, parent, uid, gid, cpu, user, system, status, threads = numbers
            if seq != expected:
                raise ValueError(f"its number is {seq}")
        except ValueError as error:
            faults.append(f"line {expected}: {error}: {line[:200].decode('ascii', 'backslashreplace')}")
            continue
        batch, of_cluster, job = of_node(batch, cluster if job else "", job)
        found.append(
            (node, pid, start, end, parent, uid, gid, rows.fitting(command, None), user, system, status, 1, cpu, threads, boot,
             _account(uid), rows.fitting(batch, NAME), rows.fitting(of_cluster, NAME), rows.fitting(job, NAME), known_by)
        )  # fmt: skip
    return found, faults


def _read(spool: int, name: str) -> bytes:
    """The bytes of a file; raises FileNotFoundError, EvidenceError."""
    if "/" in name or not name.endswith(exit_lines.SUFFIX):
        raise EvidenceError("is no name of such a file")
    descriptor = os.open(name, trusted.OPEN_FLAGS, dir_fd=spool)
    with open(descriptor, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise EvidenceError(f"is larger than {LARGEST} bytes")
    return data


def _remove(spool: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=spool)
    except FileNotFoundError:
        pass


@cache
def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
