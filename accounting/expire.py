"""Let go of what has come to its age, and of the names of people before that; the chains of ledgers stay whole.

A ledger's oldest lines go, and its chain goes on from the last of them (``anchors``).  A line that comes to its age before
an older one keeps its place and its digest, and loses its body.  Every step may be killed and repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, text, update

from gridwarden.accounting import partitions, positions, pseudonyms, retention, rows, schema
from gridwarden.accounting.positions import PSEUDONYMS, Position
from gridwarden.errors import ConfigurationError
from gridwarden.retention_settings import CLAIM, PROCESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.accounting.retention import Cutoffs
    from gridwarden.accounting.store import Store

BATCH_ROWS = 5000
LEDGER = "ledger:"


class Expired(NamedTuple):
    """How many rows: records that went, records that lost their bodies, jobs and runs that went, identities replaced."""

    records: int
    bodies: int
    jobs: int
    runs: int
    identities: int


def expire(store: Store, cutoffs: Cutoffs, key: bytes | None, *, now: int, progress: Callable[[int], None]) -> Expired:
    """Carry the cutoffs out; ``key`` makes the pseudonyms, where there are to be any.

    Raises Unavailable, and ConfigurationError where the store has pseudonyms of another key.
    """
    with store.transaction() as connection:
        if key is not None:
            _claim_key(connection, key)
        like = schema.positions.c.source.like(f"{LEDGER}%")
        sources = connection.scalars(select(schema.positions.c.source).where(like)).all()
    gone = bodies = identities = 0
    for source in sources:
        with store.transaction() as connection:
            positions.claim(connection, source)
            identifier = source.removeprefix(LEDGER)
            gone += _move_anchor(connection, identifier, cutoffs)
            bodies += _erase(connection, identifier, cutoffs, now)
            if key is not None and cutoffs.identities is not None:
                identities += _rename_records(connection, identifier, cutoffs.identities, key, now)
        progress(gone + bodies + identities)
    _sweep(store, cutoffs)
    with store.transaction() as connection:
        jobs, runs = _remove_rest(connection, cutoffs)
        if key is not None and cutoffs.identities is not None:
            identities += _rename_rest(connection, cutoffs.identities, key)
    return Expired(gone, bodies, jobs, runs, identities)


def _claim_key(connection: Connection, key: bytes) -> None:
    """Keep other expiries out, and refuse a key by which the same people would have two pseudonyms."""
    fingerprint = pseudonyms.pseudonym(key, "", "this store")
    known = positions.claim(connection, PSEUDONYMS).head
    if known not in {"", fingerprint}:
        message = "the pseudonyms in this store were made with another key"
        raise ConfigurationError(
            message, "run gridwarden store expire where it ran before, or bring its pseudonym-key here"
        )
    positions.set_position(connection, PSEUDONYMS, Position(0, fingerprint))


def _move_anchor(connection: Connection, identifier: str, cutoffs: Cutoffs) -> int:
    """Move a ledger's anchor to before the first line that is kept; return how many lines that lets go."""
    records, anchors = schema.records.c, schema.anchors.c
    before = connection.scalar(select(anchors.seq).where(anchors.ledger == identifier)) or 0
    lines = (records.ledger == identifier, records.seq > before)
    kept = connection.scalar(select(func.min(records.seq)).where(*lines, ~retention.record_expired(cutoffs)))
    query = select(records.seq, records.hash).where(*lines).order_by(records.seq.desc()).limit(1)
    last = connection.execute(query if kept is None else query.where(records.seq < kept)).one_or_none()
    if last is None:
        return 0
    rows.upsert(connection, schema.anchors, [{"ledger": identifier, "seq": last[0], "hash": last[1]}])
    return int(last[0]) - before


def _after_anchor(connection: Connection, identifier: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    records, anchors = schema.records.c, schema.anchors.c
    anchor = connection.scalar(select(anchors.seq).where(anchors.ledger == identifier)) or 0
    return records.ledger == identifier, records.seq > anchor


def _erase(connection: Connection, identifier: str, cutoffs: Cutoffs, now: int) -> int:
    """Erase the bodies of lines that stand behind some that are kept."""
    of_ledger = _after_anchor(connection, identifier)
    condition = (*of_ledger, schema.records.c.body.is_not(None), retention.record_expired(cutoffs))
    nothing = {"body": None, "account": None, "lease": None, "pid": None, "altered": now}
    return connection.execute(update(schema.records).where(*condition).values(nothing)).rowcount


def _rename_records(connection: Connection, identifier: str, cutoff: int, key: bytes, now: int) -> int:
    records = schema.records.c
    of_ledger = _after_anchor(connection, identifier)
    query = select(records.seq, records.time, records.body).where(*of_ledger, retention.record_names_too_long(cutoff))
    renamed = 0
    while found := connection.execute(query.order_by(records.seq).limit(BATCH_ROWS)).all():
        for seq, time, body in found:
            line = (records.ledger == identifier, records.seq == seq, records.time == time)
            values = {"body": pseudonyms.of_text(key, body), "altered": now}
            connection.execute(update(schema.records).where(*line).values(values))
        renamed += len(found)
    return renamed


def _sweep(store: Store, cutoffs: Cutoffs) -> None:
    """Remove the lines up to the anchors; and of these and of processes whole months at once, where the database has them."""
    if store.partitioned:
        with store.transaction() as connection:
            partitions.drop_whole_months(connection)
            partitions.drop_months_before(connection, partitions.PROCESSES, cutoffs.of_kind(PROCESS))
    with store.transaction() as connection:
        known = connection.execute(select(schema.anchors.c.ledger, schema.anchors.c.seq)).all()
    records = schema.records.c
    for identifier, seq in known:
        with store.transaction() as connection:
            connection.execute(delete(schema.records).where(records.ledger == identifier, records.seq <= seq))


def _remove_rest(connection: Connection, cutoffs: Cutoffs) -> tuple[int, int]:
    """Remove what is no line of a ledger; faults of ledgers stay, since they keep the ledgers' own files."""
    of_jobs = retention.batch_job_cutoff(cutoffs)
    connection.execute(delete(schema.batch_steps).where(retention.step_of_older_job(of_jobs)))
    jobs = connection.execute(delete(schema.batch_jobs).where(retention.job_older(of_jobs))).rowcount
    runs = connection.execute(delete(schema.job_runs).where(retention.run_expired(cutoffs))).rowcount
    ended = schema.processes.c.end
    connection.execute(delete(schema.processes).where(ended < cutoffs.of_kind(PROCESS)))
    connection.execute(delete(schema.claims).where(schema.claims.c.time < cutoffs.of_kind(CLAIM)))
    faults = schema.faults.c
    # A line that cannot be used is kept as it is, names of people and all.
    cutoff = max(cutoffs.default, cutoffs.identities or 0)
    connection.execute(delete(schema.faults).where(~faults.source.like(f"{LEDGER}%"), faults.seen < cutoff))
    connection.execute(delete(schema.heads).where(schema.heads.c.time < cutoffs.default))
    return jobs, runs


def _rename_rest(connection: Connection, cutoff: int, key: bytes) -> int:
    """Replace the identities of runs, claims and jobs; of these the free text goes too."""
    renamed = 0
    for table, older, more in (
        (schema.job_runs, retention.run_older(cutoff), {}),
        (schema.claims, schema.claims.c.time < cutoff, {}),
        (schema.batch_jobs, retention.job_older(cutoff), {"fields": "", "name": ""}),
    ):
        named = (older, table.c.subject != "", ~table.c.subject.like(f"{pseudonyms.PREFIX}%"))
        for scheme, subject in connection.execute(
            select(table.c.scheme, table.c.subject).where(*named).distinct()
        ).all():
            same = (older, table.c.scheme == scheme, table.c.subject == subject)
            values = {"subject": pseudonyms.pseudonym(key, scheme, subject)}
            renamed += connection.execute(update(table).where(*same).values(values)).rowcount
        if more:
            connection.execute(update(table).where(older, text("(fields <> '' OR name <> '')")).values(more))
    return renamed
