"""Bring accounting files and logs of other programs into the store, whatever happens meanwhile.

A file is known by its first entry, not by its name, so that one that was rotated or compressed is not a new one.
Rows, place in the file and counts are committed together: an import that is killed anywhere goes on from there, and one
that is run twice changes nothing.  Files that overlap give the same rows.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting import (
    file_progress,
    htcondor_names,
    job_rows,
    pacct,
    pacct_import,
    pbs_runs,
    positions,
    rows,
    schema,
)
from gridwarden.accounting.batch_records import HTCONDOR, PBS, ClassOf, Ignored, Job, Step, classed, no_class
from gridwarden.accounting.claims import Claim
from gridwarden.accounting.file_formats import UNFINISHED, Entry, Format, format_of
from gridwarden.accounting.file_progress import Counts
from gridwarden.accounting.log_files import WITNESS, Log, open_log
from gridwarden.errors import GridwardenError, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gridwarden.accounting.store import Store

BATCH_ENTRIES = 2000
BATCH_BYTES = 16 << 20  # whoever owns a job can make its ad as large as that
LONGEST_NODE = 128  # characters, as schema.Name
LONGEST_SHOWN = 2000  # characters of a quarantined entry that are kept

Progress = Callable[[str, int], None]


class Imported(NamedTuple):
    """What a file gave now, and ``whole``, what it has given in all.

    ``ignored`` counts what is known to say nothing about CPU time, by what it is; ``unfinished`` says that the file
    ends within an entry, which is read when the rest of it is there.
    """

    path: str
    entry: str
    counts: Counts
    whole: Counts
    ignored: dict[str, int]
    fresh_faults: list[str]
    unfinished: bool


class _Found(NamedTuple):
    jobs: list[tuple[Entry, int, Job]]
    steps: list[tuple[Entry, int, Step]]
    claims: list[Claim]
    records: int
    faults: list[tuple[str, str]]
    ignored: Counter[str]


def files_of(patterns: Iterable[Path]) -> tuple[list[Path], list[GridwardenError]]:
    """Return the files that shell patterns stand for, each once, and an error for each that stands for none."""
    found: dict[Path, None] = {}
    failed: list[GridwardenError] = []
    for pattern in patterns:
        paths = [path for name in sorted(glob.glob(str(pattern))) if not (path := Path(name)).is_dir()]
        if not paths:
            hint = "correct accounting.files in site.yaml, or run as root"
            failed.append(Unavailable(f"{pattern}: there is no such file", hint))
        found.update(dict.fromkeys(paths))
    return list(found), failed


def import_files(
    store: Store,
    paths: Iterable[Path],
    owners: frozenset[int],
    *,
    now: int,
    progress: Progress,
    dry_run: bool = False,
    node: str | None = None,
    class_of: ClassOf = no_class,
) -> tuple[list[Imported], list[GridwardenError]]:
    """Import files that are new, or have grown; one that fails does not keep the others back.

    Process accounting, and a log that names no node, are of ``node``, of this machine where that is None; ``class_of`` says
    of what class a node is.
    """
    node = rows.fitting(node or os.uname().nodename.partition(".")[0], LONGEST_NODE)
    imported: list[Imported] = []
    failed: list[GridwardenError] = []
    read = file_progress.read_to_the_end(store)  # once: a directory of per-job histories holds a file for each job
    for path in paths:
        try:
            with open_log(path, owners) as log:
                if (log.name, log.size, log.modified) in read:
                    continue
                found = import_log(
                    store, log, now=now, progress=progress, dry_run=dry_run, node=node, class_of=class_of
                )
        except GridwardenError as error:
            failed.append(error)
        else:
            imported += [found] if found else []
    return imported, failed


def import_log(
    store: Store,
    log: Log,
    *,
    now: int,
    progress: Progress,
    dry_run: bool = False,
    node: str,
    class_of: ClassOf = no_class,
) -> Imported | None:
    """Import what the store has not of a file; None where it is empty.

    Raises ConfigurationError for a file of no known format, Unavailable for one that cannot be read to its end (what came
    before is in the store) and for the store itself.
    """
    if pacct.is_pacct(next(log.chunks(), b"")):
        taken = pacct_import.take(store, log, node, now=now, progress=progress, dry_run=dry_run)
        return Imported(log.name, pacct_import.ENTRY, *taken)
    format = format_of(log, node)  # noqa: A001  the field's own word
    first = next(format.entries(log, 0), None) if format else None
    if format is None or first is None:
        return None
    # What a file is called before its first dot stays when it is rotated and compressed.
    stem = log.name.rpartition("/")[2].partition(".")[0]
    source = f"file:{sha256(stem.encode() + b'/' + first.text).hexdigest()}"
    stored, offset, tail, before = file_progress.begin(store, source, log)
    work = _Work(log, format, before.entries, class_of)
    whole = before
    fresh: list[str] = []
    for entries in rows.bounded_batches(
        work.entries(offset), BATCH_ENTRIES, BATCH_BYTES, lambda entry: len(entry.text)
    ):
        found = work.read(entries)
        tail = (tail + b"".join(entry.text for entry in entries))[-WITNESS:]
        reached = file_progress.reached(entries[-1].end, tail)
        with store.transaction() as connection:
            if positions.claim(connection, source) != stored and not dry_run:
                raise Unavailable(
                    f"{log.name}: another gridwarden collect reads it now", "run it again when that has ended"
                )
            counts, faults = _keep(connection, found, work, len(entries))
            whole = Counts(*(a + b for a, b in zip(whole, counts, strict=True)))
            fresh += positions.add_faults(connection, source, faults, now)
            file_progress.remember(connection, log, source, format.kind, whole, now=now, whole=False)
            positions.set_position(connection, source, reached)
        stored = reached
        progress(log.name, log.bytes_read())
    with store.transaction() as connection:
        file_progress.remember(connection, log, source, format.kind, whole, now=now, whole=not work.unfinished)
    now_read = Counts(*(a - b for a, b in zip(whole, before, strict=True)))
    return Imported(log.name, format.entry, now_read, whole, dict(work.ignored), fresh, work.unfinished)


class _Work:
    """One file being read; ``ignored`` and ``unfinished`` as in Imported."""

    def __init__(self, log: Log, format: Format, entries: int, class_of: ClassOf) -> None:  # noqa: A002  as above
        self.log = log
        self.format = format
        self.class_of = class_of
        self.unfinished = False
        self.ignored: Counter[str] = Counter()
        self._number = entries

    def entries(self, offset: int) -> Iterator[Entry]:
        """Yield entries, but not a last one that is still being written."""
        for entry in self.format.entries(self.log, offset):
            if entry.fault == UNFINISHED and entry.end and not self.log.compressed:
                self.unfinished = True
                return
            yield entry

    def read(self, entries: list[Entry]) -> _Found:
        """Understand entries, or say why not."""
        found = _Found([], [], [], 0, [], Counter())
        for entry in entries:
            self._number += 1
            try:
                if entry.fault:
                    raise ValueError(entry.fault)
                result = self.format.parse(entry.text.decode("utf-8", "surrogateescape"))
            except ValueError as error:
                found.faults.append(self.fault(entry, self._number, str(error)))
                continue
            if isinstance(result, Ignored):
                found.ignored[result.because] += 1
                continue
            found.jobs.extend((entry, self._number, row) for row in result if isinstance(row, Job))
            found.steps.extend((entry, self._number, row) for row in result if isinstance(row, Step))
            place = f"{self.log.name}:{self._number}"
            found.claims.extend(row._replace(place=place) for row in result if isinstance(row, Claim))
        self.ignored += found.ignored
        return found._replace(records=len(entries) - len(found.faults) - found.ignored.total())

    def fault(self, entry: Entry, number: int, reason: str) -> tuple[str, str]:
        """Return where an entry is that was put aside, and why, with the entry itself."""
        text = entry.text[:LONGEST_SHOWN].decode("utf-8", "backslashreplace").rstrip("\n")
        return f"{self.log.name}, {self.format.entry} {number}", f"{reason}: {text}" if text else reason


def _keep(connection: Connection, found: _Found, work: _Work, entries: int) -> tuple[Counts, list[tuple[str, str]]]:
    """Put jobs and steps into the store; return what became of the entries, and the faults."""
    if work.format.kind == HTCONDOR:
        found = _without_refused(connection, found, work)
    faults = list(found.faults)
    jobs, odd = [classed(job, work.class_of) for _, _, job in found.jobs], set[int]()
    if work.format.kind == PBS:
        jobs, odd = pbs_runs.tell_apart(connection, jobs)
    for entry, number, _ in (found.jobs[index] for index in sorted(odd)):
        faults.append(work.fault(entry, number, "the store has another record of that run"))
    job_rows.put(connection, jobs, [step for _, _, step in found.steps])
    rows.insert_new(connection, schema.claims, [{"digest": each.digest, **each._asdict()} for each in found.claims])
    return Counts(entries, found.records - len(odd), len(faults), found.ignored.total()), faults


def _without_refused(connection: Connection, found: _Found, work: _Work) -> _Found:
    """Put those of HTCondor's ads aside that bear the name of another's job."""
    every: list[tuple[Entry, int, Job | Step]] = [*found.jobs, *found.steps]
    refused = htcondor_names.refused(connection, [row for _, _, row in every])
    kept = [each for index, each in enumerate(every) if index not in refused]
    faults = [work.fault(*every[index][:2], reason) for index, reason in refused.items()]
    return found._replace(
        jobs=[(entry, number, row) for entry, number, row in kept if isinstance(row, Job)],
        steps=[(entry, number, row) for entry, number, row in kept if isinstance(row, Step)],
        faults=[*found.faults, *faults],
        records=found.records - len(faults),
    )
