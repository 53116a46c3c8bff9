"""Prove the ledgers in the store: each by its chain of hashes, and against the heads that left its node.

A chain shows what was changed in part.  Root of a node can write the whole ledger anew with a chain that holds; what it
cannot change is the heads that another host has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, and_, case, exists, func, select

from gridwarden import ledger
from gridwarden.accounting import positions, rows, schema
from gridwarden.accounting.heads import Head
from gridwarden.accounting.same_job import CLOCK_SKEW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridwarden.accounting.store import Store

BATCH_ROWS = 5000


class Proof(NamedTuple):
    """One ledger: the nodes that it is of, its lines here, and the heads among them that its nodes' syslog had too."""

    ledger: str
    nodes: str
    lines: int
    heads: int


class Fault(NamedTuple):
    """What is wrong with one ledger, or of one node."""

    subject: str
    what: str


class Verdict(NamedTuple):
    """The ledgers, what is wrong with them, and the heads of lines that were not collected yet, by node."""

    proofs: list[Proof]
    faults: list[Fault]
    pending: dict[str, int]


def keep(store: Store, found: Iterable[Head], progress: Callable[[int], None]) -> int:
    """Keep heads in the store, and return how many there were; heads that are there already stay as they are."""
    kept = 0
    batch: list[rows.Row] = []

    def flush() -> None:
        with store.transaction() as connection:
            rows.insert_new(connection, schema.heads, batch)
        batch.clear()
        progress(kept)

    for head in found:
        batch.append(head._asdict())
        kept += 1
        if len(batch) == BATCH_ROWS:
            flush()
    flush()
    return kept


def prove(store: Store, progress: Callable[[int], None]) -> Verdict:
    """Verify every ledger in the store, as of one moment; raises Unavailable."""
    with store.transaction() as connection:
        proofs, faults = [], []
        of_ledgers = schema.positions.c.source.like("ledger:%")
        sources = connection.scalars(select(schema.positions.c.source).where(of_ledgers).order_by("source")).all()
        lines = 0
        for source in sources:
            identifier = source.removeprefix("ledger:")
            proof, wrong = _prove_ledger(connection, identifier)
            proofs.append(proof)
            faults += [Fault(source, what) for what in [*_known(connection, source), *wrong]]
            lines += proof.lines
            progress(lines)
        of_heads, pending = _unmatched(connection)
        return Verdict(proofs, faults + of_heads, pending)


def _known(connection: Connection, source: str) -> list[str]:
    """Return what was wrong with a ledger when it was collected, of which the bodies are not here."""
    table = schema.faults.c
    query = select(table.place, table.fault).where(table.source == source).order_by(table.place, table.fault)
    return [f"{place}: {fault}" for place, fault in connection.execute(query)]


def anchor_of(connection: Connection, identifier: str) -> tuple[int, str]:
    """Return the number and the hash of the last line of a ledger that went for its age: its chain begins after it."""
    anchors = schema.anchors.c
    found = connection.execute(select(anchors.seq, anchors.hash).where(anchors.ledger == identifier)).one_or_none()
    return (found[0], found[1]) if found else (0, ledger.FIRST)


def _prove_ledger(connection: Connection, identifier: str) -> tuple[Proof, list[str]]:
    """Follow the chain of one ledger, line by line."""
    faults: list[str] = []
    seq, previous = anchor_of(connection, identifier)
    lines = 0
    for number, claimed, digest, body in _lines(connection, identifier):
        if number != seq + 1:
            faults.append(f"the line after {seq} is {number}: what stood between them is gone")
        elif ledger.link_hash(previous, number, digest) != claimed:
            faults.append(f"line {number}: the chain is broken before it")
        if body is not None and ledger.digest_of(body.encode()) != digest:
            faults.append(f"line {number}: the record was altered")
        seq, previous, lines = number, claimed, lines + 1
    if positions.position_of(connection, f"ledger:{identifier}") != (seq, previous if seq else ""):
        faults.append(f"it ends with {seq}, which is not the line that was collected last")
    nodes = schema.ledger_nodes.c
    names = connection.scalars(select(nodes.node).where(nodes.ledger == identifier).order_by(nodes.node)).all()
    return Proof(identifier, " ".join(names), lines, _count_matched(connection, identifier)), faults


def _lines(connection: Connection, identifier: str) -> Iterator[tuple[int, str, str, str | None]]:
    records = schema.records.c
    # What was erased or has pseudonyms for its age has kept its digest, and with that its place in the chain.
    body = case((records.altered.is_(None), records.body))
    query = select(records.seq, records.hash, records.digest, body).where(
        records.ledger == identifier, records.seq > anchor_of(connection, identifier)[0]
    )
    for row in connection.execution_options(yield_per=BATCH_ROWS).execute(query.order_by(records.seq)):
        yield row[0], row[1], row[2], row[3]


def _count_matched(connection: Connection, identifier: str) -> int:
    heads, records, nodes = schema.heads.c, schema.records.c, schema.ledger_nodes.c
    same = and_(records.ledger == identifier, records.seq == heads.seq, records.hash == heads.hash)
    query = select(func.count(func.distinct(heads.seq))).select_from(schema.heads).join(schema.records, same)
    return connection.scalar(query.where(heads.node.in_(select(nodes.node).where(nodes.ledger == identifier)))) or 0


def _unmatched(connection: Connection) -> tuple[list[Fault], dict[str, int]]:
    """Look at the heads that no ledger of their node has."""
    heads, records, nodes = schema.heads.c, schema.records.c, schema.ledger_nodes.c
    same = and_(
        nodes.node == heads.node,
        records.ledger == nodes.ledger,
        records.seq == heads.seq,
        records.hash == heads.hash,
    )
    matched = exists().where(same)
    anchors = schema.anchors.c
    gone = exists().where(nodes.node == heads.node, anchors.ledger == nodes.ledger, anchors.seq >= heads.seq)
    pending: dict[str, int] = {}
    wrong: dict[tuple[str, str], list[Head]] = {}
    ends: dict[str, list[tuple[str, int, int]]] = {}
    for row in connection.execute(select(schema.heads).where(~matched, ~gone).order_by(heads.node, heads.seq)):
        head = Head(*row)
        if head.node not in ends:
            ends[head.node] = _ends(connection, head.node)
        reached = [identifier for identifier, seq, _ in ends[head.node] if seq >= head.seq]
        later = [identifier for identifier, _, time in ends[head.node] if time > head.time + CLOCK_SKEW]
        if reached:
            wrong.setdefault((reached[0], "is not the one"), []).append(head)
        elif later:
            wrong.setdefault((later[0], "is gone, and later ones are there"), []).append(head)
        else:
            pending[head.node] = pending.get(head.node, 0) + 1
    return [Fault(f"ledger:{key[0]}", _sentence(key[1], found)) for key, found in wrong.items()], pending


def _ends(connection: Connection, node: str) -> list[tuple[str, int, int]]:
    """Return each ledger of a node, with the number and the time of its last line, the latest first."""
    records, nodes = schema.records.c, schema.ledger_nodes.c
    found = []
    for identifier in connection.scalars(select(nodes.ledger).where(nodes.node == node)).all():
        last = positions.position_of(connection, f"ledger:{identifier}").at
        query = select(records.time).where(records.ledger == identifier, records.seq == last)
        found.append((identifier, last, connection.scalar(query) or 0))
    return sorted(found, key=lambda end: -end[2])


def _sentence(what: str, found: list[Head]) -> str:
    first, last = found[0], found[-1]
    more = "" if len(found) == 1 else f"; so for {len(found)} heads in all, up to line {last.seq}"
    return f"line {first.seq} {what} whose head left {first.node} ({first.place}){more}"
