"""HTCondor's history and epoch history, asked of a schedd through its Python bindings (htcondor2, of 23.9 and later).

What the schedd says is what it wrote into its files, and is read as these are; a job that was collected from either is one.
The history is asked for from the last job on that was seen, the epochs from a day before the last collect: a job
leaves the queue once, and may have left it long after it had ended, but has many epochs.
"""

from __future__ import annotations

import importlib
from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

from gridwarden.accounting import htcondor_history, htcondor_names, imports, job_rows, positions, rows, schema
from gridwarden.accounting.batch_records import HTCONDOR, ClassOf, Ignored, Job, Step, classed, no_class
from gridwarden.accounting.claims import Claim
from gridwarden.accounting.collect import OVERLAP, Collected
from gridwarden.accounting.file_formats import LARGEST_AD, storable
from gridwarden.accounting.positions import Position
from gridwarden.errors import GridwardenError, Unavailable
from gridwarden.times import MICROSECONDS, format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from gridwarden.accounting.store import Store
    from gridwarden.accounting_settings import Accounting

LOCAL = "local"
BATCH_ADS = 2000
_WRITTEN = "EpochWriteDate"
LIMIT, USUAL_LIMIT = "HISTORY_HELPER_MAX_HISTORY", 50_000  # ads that a schedd reads for one question, the newest first
CUT = f"the schedd gave the last {{ads}} ads of its {{of}}, as its {LIMIT} bids, and none before: import its files"
NO_EPOCHS = "JOB_EPOCH_HISTORY"  # what a schedd complains of that keeps none


def collect_schedds(
    store: Store, settings: Accounting, *, now: int, progress: Callable[[str, int], None]
) -> tuple[list[Collected], list[GridwardenError]]:
    """Collect every schedd that the settings name; one that fails does not keep the others back."""
    collected: list[Collected] = []
    failed: list[GridwardenError] = []
    for name in settings.schedds:
        try:
            collected.append(collect_schedd(store, name, now=now, progress=progress, class_of=settings.class_of))
        except GridwardenError as error:
            failed.append(error)
    return collected, failed


def collect_schedd(
    store: Store, name: str, *, now: int, progress: Callable[[str, int], None], class_of: ClassOf = no_class
) -> Collected:
    """Collect what a schedd has beyond the store; ``name`` is that of a schedd of the pool, or ``local``.

    Raises Unavailable where the bindings are not installed, or the schedd does not answer.
    """
    source = f"{HTCONDOR}:{name}"
    with store.transaction() as connection:
        before = positions.position_of(connection, source)
    fresh: list[str] = []
    cut: list[str] = []
    newest, taken = before.head, 0
    for asked in _ask(name, before):
        newest = asked.newest or newest
        cut += asked.cut
        for texts in rows.bounded_batches(asked.texts, BATCH_ADS, imports.BATCH_BYTES, len):
            found, faults = _read(texts)
            with store.transaction() as connection:
                positions.claim(connection, source)
                refused = htcondor_names.refused(connection, [row for _, row in found])
                kept = [row for index, (_, row) in enumerate(found) if index not in refused]
                _keep(connection, kept, source, class_of)
                faults += [(found[index][0], reason) for index, reason in refused.items()]
                fresh += positions.add_faults(connection, source, faults, now)
            taken += len(kept)
            progress(source, taken)
    with store.transaction() as connection:
        positions.claim(connection, source)
        positions.set_position(connection, source, Position(now, newest))
        fresh += positions.add_faults(connection, source, [(format_instant(now, UTC), each) for each in cut], now)
        known = positions.count_faults(connection, source)
    return Collected(source, taken, fresh, known)


def _keep(connection: Connection, found: list[Job | Step | Claim], source: str, class_of: ClassOf) -> None:
    jobs = [classed(each, class_of) for each in found if isinstance(each, Job)]
    job_rows.put(connection, jobs, [each for each in found if isinstance(each, Step)])
    claimed = [each._replace(place=source) for each in found if isinstance(each, Claim)]
    rows.insert_new(connection, schema.claims, [{"digest": each.digest, **each._asdict()} for each in claimed])


class _Asked(NamedTuple):
    """The ads of an answer as they would stand in a file, the last job of the history, and what of it was cut short."""

    texts: Iterator[str]
    newest: str
    cut: list[str]


def _ask(name: str, before: Position) -> Iterator[_Asked]:
    """Ask for the history, and for the epochs when that has been read."""
    try:
        htcondor, classad = (importlib.import_module(name) for name in ("htcondor2", "classad2"))
    except ImportError as error:
        raise Unavailable(
            "HTCondor's Python bindings are not installed", "pip install 'gridwarden[htcondor]'"
        ) from error
    limit = int(htcondor.param.get(LIMIT, USUAL_LIMIT))
    cluster, _, process = before.head.partition(".")
    try:
        schedd = htcondor.Schedd(_location(htcondor, name))
        # A job's number as text is never found by the bindings of 23.9.
        seen = classad.ExprTree(f"ClusterId == {cluster} && ProcId == {process}") if process else None
        jobs = list(schedd.history("true", [*htcondor_history.ATTRIBUTES], since=seen))
        newest = f"{jobs[0]['ClusterId']}.{jobs[0]['ProcId']}" if jobs else ""
        yield _Asked(_drained(jobs, _text), newest, [CUT.format(ads=len(jobs), of="history")] * (len(jobs) >= limit))
        earlier = classad.ExprTree(f"EpochWriteDate < {max(0, before.at - OVERLAP) // MICROSECONDS}")
        epochs = _epochs(schedd, earlier)
        yield _Asked(_drained(epochs, _epoch), "", [CUT.format(ads=len(epochs), of="epochs")] * (len(epochs) >= limit))
    except (OSError, ValueError, RuntimeError) as error:
        message = f"the schedd {name}: {' '.join(str(error).split())}"
        raise Unavailable(message, "see condor_status -schedd; gridwarden collect can be repeated") from error


def _drained(ads: list[Any], text_of: Callable[[Any], str]) -> Iterator[str]:
    """Yield the text of each ad, the oldest first, as a file has them, and let go of it: all of them came at once."""
    ads.reverse()
    while ads:
        yield text_of(ads.pop())


def _location(htcondor: Any, name: str) -> Any:  # noqa: ANN401  a module without types
    if name == LOCAL:
        return None
    found = htcondor.Collector().locate(htcondor.DaemonType.Schedd, name)
    if not found:
        raise ValueError("the pool knows no schedd of that name")
    return found


def _epochs(schedd: Any, earlier: Any) -> list[Any]:  # noqa: ANN401  as above
    """Return the ads of runs up to the first that is ``earlier``."""
    try:
        return list(schedd.jobEpochHistory("true", [*htcondor_history.ATTRIBUTES, _WRITTEN], since=earlier))
    except OSError as error:
        if NO_EPOCHS in str(error):
            return []
        raise


def _text(ad: Any) -> str:  # noqa: ANN401  as above
    return str(ad.printOld()).rstrip("\n")


def _epoch(ad: Any) -> str:  # noqa: ANN401  as above
    """Return the ad of a run with the banner of the file: which run it was, and when the ad was written."""
    starts, written = (value if isinstance(value := ad.get(name), int) else 0 for name in ("NumShadowStarts", _WRITTEN))
    run = max(starts, 1) - 1
    return f"{_text(ad)}\n{htcondor_history.BANNER}EPOCH RunInstanceId={run} CurrentTime={written}"


def _read(texts: list[str]) -> tuple[list[tuple[str, Job | Step | Claim]], list[tuple[str, str]]]:
    """Understand ads: return what each gave, with its beginning, and what is wrong with the others."""
    found: list[tuple[str, Job | Step | Claim]] = []
    faults = []
    for text in texts:
        place = text[: imports.LONGEST_SHOWN]
        try:
            if len(text) > LARGEST_AD:
                raise ValueError(f"it is larger than {LARGEST_AD} bytes")
            row = htcondor_history.parse(text)
            found += [] if isinstance(row, Ignored) else [(place, each) for each in storable([row])]
        except ValueError as error:
            faults.append((place, str(error)))
    return found, faults
