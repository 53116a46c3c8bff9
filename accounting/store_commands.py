"""``gridwarden store``: what is in the store, and its upkeep."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gridwarden import load_settings, syslog_line
from gridwarden.errors import EvidenceError
from gridwarden.local_zone import system_zone
from gridwarden.options import Group
from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from gridwarden.accounting.store import Store

SHOWN_FAULTS = 50
PROGRESS_SECONDS = 2


@click.group("store", cls=Group)
def store_group() -> None:
    """See and keep up the store of collected records.

    \b
    Examples:
      gridwarden store status
      gridwarden store verify --heads /var/log/remote/nodes.log
      gridwarden store upgrade --dry-run
      gridwarden store expire --dry-run
    """


@store_group.command("status")
@format_option
@click.pass_obj
def status_command(config: Path, format: str) -> None:
    """Say where the store is, how large, of which schema, and how far each source was collected.

    \b
    Examples:
      gridwarden store status
      gridwarden store status --format json
    """
    from gridwarden.accounting.status import status
    from gridwarden.accounting.store import open_any

    rows = status(open_any(load_settings.load(config).store, write=False))
    write([row._asdict() for row in rows], ("key", "value"), format)


@store_group.command("upgrade")
@click.option("--dry-run", is_flag=True, help="Try the whole upgrade, say what it would do, and take it back.")
@click.pass_obj
def upgrade_command(config: Path, dry_run: bool) -> None:
    """Bring the store's schema to the one that this gridwarden knows, and make it in an empty database.

    All of it or nothing: it may be stopped at any moment. Collectors wait meanwhile. Of a PostgreSQL store, make a
    dump first; of an SQLite store, a copy of its file while no collector runs.

    \b
    Examples:
      gridwarden store upgrade --dry-run
      gridwarden store upgrade
    """
    from gridwarden.accounting.store import open_any, upgrade

    store = open_any(load_settings.load(config).store, write=True, rehearse=dry_run)
    before, after = upgrade(store)
    if before == after:
        click.echo(f"the store {store.place} has schema {after}: nothing to do")
        return
    verb = "would be" if dry_run else "was"
    click.echo(f"the store {store.place} {verb} brought from schema {before} to {after}")
    if not dry_run:
        syslog_line.decision("store", "updated", before=before, after=after)


@store_group.command("verify")
@click.option(
    "--heads",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Syslog of the nodes, as another host keeps it, compressed or not; its heads are kept in the store. Repeatable.",
)
@format_option
@click.pass_obj
def verify_command(config: Path, files: tuple[Path, ...], format: str) -> None:
    """Prove each ledger in the store by its chain, and against the heads that left its node.

    Root of a node can write its whole ledger anew, with a chain that holds, before it is collected; the lines of syslog
    that had left the node by then show it. Exit code 74 when a ledger is not proven.

    \b
    Examples:
      gridwarden store verify
      gridwarden store verify --heads /var/log/remote/nodes.log --heads /var/log/remote/nodes.log.1.gz
    """
    from gridwarden.accounting.prove import prove
    from gridwarden.accounting.store import open_to_read

    url = load_settings.load(config).store
    verdict = prove(open_to_read(url) if not files else _with_heads(url, files), _Progress("lines verified").tell)
    write([proof._asdict() for proof in verdict.proofs], ("ledger", "nodes", "lines", "heads"), format)
    for node, count in verdict.pending.items():
        _note(f"{count} heads of {node} are of lines that were not collected yet")
    for fault in verdict.faults[:SHOWN_FAULTS]:
        _note(f"{fault.subject}: {fault.what}")
    outcome = "faulty" if verdict.faults else "verified"
    lines = sum(proof.lines for proof in verdict.proofs)
    syslog_line.decision("store", outcome, ledgers=len(verdict.proofs), lines=lines, faults=len(verdict.faults))
    if verdict.faults:
        raise EvidenceError(
            f"{len(verdict.faults)} faults in {len({fault.subject for fault in verdict.faults})} ledgers",
            "keep the ledgers' files and the syslog, and find out who was root on those nodes",
        )


@store_group.command("head")
@click.pass_obj
def head_command(config: Path) -> None:
    """Send number and hash of the last line of this machine's ledger to the store, for store verify.

    The hash seals all lines before it. gridwarden-agent runs this every minute in which the ledger has grown; where no
    agent runs, cron can. A role of PostgreSQL's that may do nothing else is enough: docs/store.md.

    \b
    Examples:
      gridwarden store head
    """
    from gridwarden import ledger_head
    from gridwarden.accounting.heads import Head
    from gridwarden.accounting.store_writer import add_head

    settings = load_settings.load(config)
    seq, digest = ledger_head.head(settings.ledger_directory)
    node = os.uname().nodename.partition(".")[0]
    if not seq:
        click.echo(f"the ledger of {node} is empty")
        return
    add_head(settings.store, Head(node, seq, digest, time.time_ns() // 1000, f"sent by {node}"))
    click.echo(f"line {seq} of {node}: {digest}")


@store_group.command("expire")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.pass_obj
def expire_command(config: Path, dry_run: bool) -> None:
    """Remove what is older than `retention` in site.yaml says, and put pseudonyms in place of older identities.

    Run it daily, as root, on one machine: the key of its pseudonyms stays there. The chains of ledgers stay whole, and
    store verify goes on from what is left. It may be stopped anywhere and repeated.

    \b
    Examples:
      gridwarden store expire --dry-run
      gridwarden store expire
    """
    from gridwarden.accounting.expire import expire
    from gridwarden.accounting.pseudonyms import key_of
    from gridwarden.accounting.retention import Cutoffs
    from gridwarden.accounting.store import open_any

    settings = load_settings.load(config)
    now = time.time_ns() // 1000
    cutoffs = Cutoffs.of(settings.retention, now)
    store = open_any(settings.store, write=True, rehearse=dry_run)
    store.refuse_other_schema()
    key = None
    if cutoffs.identities is not None:
        # A rehearsal makes no key: whose pseudonyms they would be does not matter for how many.
        rehearsed = dry_run and not settings.pseudonym_key.exists()
        key = bytes(32) if rehearsed else key_of(settings.pseudonym_key)
    done = expire(store, cutoffs, key, now=now, progress=_Progress("rows").tell)
    verb = "would go" if dry_run else "went"
    click.echo(
        f"{done.records} records, {done.jobs} jobs and {done.runs} runs {verb}; bodies of {done.bodies} records more; "
        f"{done.identities} rows {'would have' if dry_run else 'had'} identities replaced"
    )
    if not dry_run:
        syslog_line.decision("store", "expired", **done._asdict())


def _with_heads(url: str, files: tuple[Path, ...]) -> Store:
    """Keep the heads of files of syslog, and return the store."""
    from gridwarden.accounting import heads
    from gridwarden.accounting.log_files import open_log
    from gridwarden.accounting.prove import keep
    from gridwarden.accounting.store import open_store

    store, now, zone = open_store(url), time.time_ns() // 1000, system_zone()
    for path in files:
        with open_log(path, _syslog_owners()) as log:
            kept = keep(store, heads.parse(log.lines(), str(path), now=now, zone=zone), _Progress("heads").tell)
        _note(f"{path}: {kept} heads")
    return store


def _syslog_owners() -> frozenset[int]:
    """Return the users besides root that write syslog: Ubuntu's rsyslogd is not root."""
    try:
        return frozenset([pwd.getpwnam("syslog").pw_uid])
    except KeyError:
        return frozenset()


class _Progress:
    """Say on standard error how far a long run is."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + PROGRESS_SECONDS

    def tell(self, count: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_SECONDS
            _note(f"{count} {self._what} so far")


def _note(text: str) -> None:
    click.echo(f"gridwarden: {escape(text)}", err=True)
