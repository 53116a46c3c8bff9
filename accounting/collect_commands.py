"""The command ``gridwarden collect``: options in, what became of every source out."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden import load_settings, output, syslog_line, times
from gridwarden.errors import BadQuestion, EvidenceError
from gridwarden.local_zone import system_zone

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from gridwarden.accounting.collect import Collected
    from gridwarden.accounting.imports import Imported
    from gridwarden.errors import GridwardenError

# SQLAlchemy takes long to load, so the command imports what it needs when it runs.

PROGRESS_SECONDS = 2
MOST_FAULTS = 20


@click.command("collect")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--since", metavar="TIME", help="Ask the batch system from here on, not from where the last collect ended."
)
@click.option("--node", metavar="NAME", help="The machine of FILES that do not name theirs, where it is not this one.")
@click.option(
    "--evidence", is_flag=True, help="Only what this machine has itself, as nodes do: ask no batch system of all jobs."
)
@click.option("--dry-run", is_flag=True, help="Read everything and say what would be collected; change nothing.")
@click.pass_obj
def collect_command(
    config: Path, files: tuple[Path, ...], since: str | None, node: str | None, evidence: bool, dry_run: bool
) -> None:
    """Bring this machine's ledger and the batch systems' accounting into the store.

    Run it as root from a timer. It can be stopped anywhere and repeated: nothing is lost or counted twice. One machine
    asks the batch system; nodes bring their own (--evidence): ledger, exit statistics, files of accounting.files. FILES are
    imported alone, such as years of history: accounting logs of OpenPBS and Torque, history files of HTCondor, output of
    sacct --json, process accounting of the kernel, logs of LCMAPS, gLExec, BLAH and HTCondor-CE, compressed or not.

    \b
    Examples:
      gridwarden collect
      gridwarden collect --since 2026-11-01
      gridwarden collect --evidence
      gridwarden collect --dry-run
      gridwarden collect /var/spool/pbs/server_priv/accounting/2025*
      gridwarden collect --node wn042 /backup/wn042/pacct*
    """
    from gridwarden.accounting.collect import collect
    from gridwarden.accounting.imports import files_of, import_files
    from gridwarden.accounting.schedd_history import collect_schedds
    from gridwarden.accounting.store import open_store

    _refuse_contradictions(files, since=since, node=node, evidence=evidence)
    settings = load_settings.load(config)
    now, zone = time.time_ns() // 1000, system_zone()
    begin = times.parse_instant(since, now=now, zone=zone, date_alone=True) if since else None
    store = open_store(settings.store, rehearse=dry_run)
    told = _Told()
    collected: list[Collected] = []
    failed: list[GridwardenError] = []
    if not files:
        collected, failed = collect(
            store, settings, since=begin, now=now, progress=told.rows, dry_run=dry_run, ask_batch=not evidence
        )
        if not evidence:
            of_schedds, unheard = collect_schedds(store, settings.accounting, now=now, progress=told.rows)
            collected, failed = collected + of_schedds, failed + unheard
    for source in collected:
        _tell_collected(source, dry_run=dry_run)
    chosen, missing = ([path.absolute() for path in files], []) if files else files_of(settings.accounting.files)
    owners = settings.accounting.owner_uids()
    with told.bar(chosen):
        imported, unread = import_files(
            store, chosen, owners, now=now, progress=told.read, dry_run=dry_run, node=node,
            class_of=settings.accounting.class_of,
        )  # fmt: skip
    for each in imported:
        _tell_imported(each, dry_run=dry_run)
    failed += [*unread, *_unverified(collected)]
    if failed or collected or chosen:  # a file that is still to come is no fault of what is there
        for error in missing:
            note(f"{error}. {error.hint}")
    else:
        failed = missing
    _raise_worst(failed)


def _unverified(collected: list[Collected]) -> list[EvidenceError]:
    """Return an error for each kind of evidence in which this collect found something that does not verify."""
    from gridwarden.accounting import exit_records

    faulty = [source.source for source in collected if source.fresh_faults]
    errors = []
    if any(source.startswith("ledger:") for source in faulty):
        message = "the ledger does not verify; its records are in the store, and it was not acknowledged"
        errors.append(EvidenceError(message, "keep the ledger's files and find out who could write them"))
    if any(source.startswith(exit_records.SOURCE) for source in faulty):
        message = "files of the agent's are not as the ledger has them; none of their lines is believed"
        errors.append(EvidenceError(message, "keep the files and find out who could write them"))
    return errors


def _raise_worst(failed: list[GridwardenError]) -> None:
    """Say all, and raise the last; evidence that does not verify, which is said once, stands behind what may pass by itself."""
    failed = sorted(failed, key=lambda error: isinstance(error, EvidenceError))
    for error in failed[:-1]:
        note(f"{error}. {error.hint}")
    if failed:
        raise failed[-1]


def _refuse_contradictions(files: tuple[Path, ...], *, since: str | None, node: str | None, evidence: bool) -> None:
    if since and (files or evidence):
        raise BadQuestion("--since asks the batch system", "leave --since away, or --evidence and the files")
    if files and evidence:
        raise BadQuestion("FILES are imported alone", "leave the files or --evidence away")
    if node is not None and not (files and node):
        raise BadQuestion("--node says of which machine FILES are", "name the files, or leave --node away")


def note(text: str) -> None:
    """Say something on standard error."""
    click.echo(f"gridwarden: {output.escape(text)}", err=True)


class _Told:
    """Say on standard error how far a long collection is: a bar for files on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PROGRESS_SECONDS
        self._bar: ProgressBar[int] | None = None
        self._file = ""
        self._at = 0

    def bar(self, files: list[Path]) -> AbstractContextManager[object]:
        """Show a bar of all the files' bytes while the context lasts, where somebody looks."""
        if not files or not sys.stderr.isatty():
            return nullcontext()
        total = sum(path.stat().st_size for path in files if path.is_file())
        self._bar = click.progressbar(length=total, label="importing", file=sys.stderr)
        return self._bar

    def rows(self, source: str, rows: int) -> None:
        """Take note of the rows of a source so far."""
        self._say(f"{source}: {rows} rows so far")

    def read(self, path: str, at: int) -> None:
        """Take note of how far a file was read."""
        if path != self._file:
            self._file, self._at = path, 0
        if self._bar is not None:
            self._bar.update(at - self._at)
        else:
            self._say(f"{path}: {at >> 20} MiB so far")
        self._at = at

    def _say(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_SECONDS
            note(text)


def _tell_collected(source: Collected, *, dry_run: bool) -> None:
    _tell_faults(source.source, source.fresh_faults)
    verb = "would be collected" if dry_run else "collected"
    known = f"; {source.known_faults} lines that cannot be used are kept as they are" if source.known_faults else ""
    removed = (
        f"; {source.removed} of its files, which the store holds, were removed for their age" if source.removed else ""
    )
    click.echo(f"{source.source}: {source.rows} rows {verb}{known}{removed}")
    if not dry_run:
        outcome = "faulty" if source.fresh_faults else "collected"
        faults = source.known_faults or None
        syslog_line.decision("collect", outcome, source=source.source, rows=source.rows, faults=faults)


def _tell_imported(file: Imported, *, dry_run: bool) -> None:
    """Say what became of every entry of a file: the sum is shown, not only kept."""
    _tell_faults(file.path, file.fresh_faults)
    counts = file.counts
    kinds = ", ".join(f"{count} {what}" for what, count in sorted(file.ignored.items(), key=lambda each: -each[1]))
    verb = "would be " if dry_run else ""
    end = f"; its last {file.entry} is still being written" if file.unfinished else ""
    click.echo(
        f"{output.escape(file.path)}: {counts.entries} {file.entry}s = {counts.records} {verb}collected "
        f"+ {counts.quarantined} quarantined + {counts.ignored} ignored{f' ({kinds})' if kinds else ''}{end}"
    )
    if not dry_run:
        outcome = "faulty" if counts.quarantined else "collected"
        faults = counts.quarantined or None
        syslog_line.decision("collect", outcome, source=file.path, rows=counts.records, faults=faults)


def _tell_faults(source: str, faults: list[str]) -> None:
    for fault in faults[:MOST_FAULTS]:
        note(f"{source}: {fault}" if not fault.startswith(source) else fault)
    if len(faults) > MOST_FAULTS:
        note(f"{source}: {len(faults) - MOST_FAULTS} more are in the store")
