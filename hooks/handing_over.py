"""Release leases, free what has cooled, and answer for this machine: the mapper's protocol, the pruner's hands.

``release`` and ``recycle`` run on one machine of the site, where Slurm can be asked; ``answer`` runs on each
node that the site names, from cron.  Their caller says how to tell the time (µs since the epoch).
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from gridwarden import child, holders, holds, ledger, payloads, proc, reasons, register, syslog_line
from gridwarden.batch import slurm, slurm_queue, slurm_spool
from gridwarden.errors import GridwardenError, Refused
from gridwarden.install import LOCAL_FILE_SYSTEMS, file_system
from gridwarden.ledger_room import Room
from gridwarden.mapper import accounts, cooling, nodes, settling
from gridwarden.mapper import release as protocol
from gridwarden.mapper.gridmapdir import Gridmapdir
from gridwarden.prune import hand_over, quota, signals, trace
from gridwarden.prune.reasons import NO_JOB

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.mapper.accounts import Account, Users
    from gridwarden.mapper.release import Outcome
    from gridwarden.mapper.site import SiteValues
    from gridwarden.mapper.terms import Terms
    from gridwarden.records import Value

MOST_RECORDS = 1000  # of one kind for one account
MOST_NAMED = 3
HOME_SECONDS = 5.0  # in which a home's file system must answer


def release(
    which: str,
    because: str,
    who: str,
    site: SiteValues,
    terms: Terms,
    clock: Callable[[], int],
    *,
    dry_run: bool = False,
    users: Users = pwd,
) -> Outcome:
    """End the lease of an account or lease name, if no job and no process of it is left; see the protocol."""

    def ask(account: Account) -> str:
        return why_busy(account, site, terms) or why_alive(account)

    return protocol.release(which, because, who, site, terms, ask, clock, dry_run=dry_run, users=users)


def free(
    site: SiteValues, terms: Terms, clock: Callable[[], int], *, dry_run: bool = False, users: Users = pwd
) -> list[Outcome]:
    """Empty and lend again every account that has cooled and is idle everywhere; see the protocol."""

    def ask(account: Account) -> str:
        return why_busy(account, site, terms)

    def empty(account: Account, lease: str) -> str:
        return emptied(account, lease, site, terms, users.getpwnam(account.name).pw_dir)

    return protocol.free(site, terms, ask, empty, clock, dry_run=dry_run, users=users)


def recycle(
    because: str,
    who: str,
    site: SiteValues,
    terms: Terms,
    clock: Callable[[], int],
    *,
    dry_run: bool = True,
    users: Users = pwd,
) -> list[Outcome]:
    """Release what has been idle for as long as the site says, then free what has cooled."""
    outcomes = []
    for name in idle(site, terms, clock()):
        try:
            outcomes.append(release(name, because, who, site, terms, clock, dry_run=dry_run, users=users))
        except GridwardenError as error:
            outcomes.append(protocol.Outcome("", "", name, protocol.FAULTY, str(error)))
    return outcomes + free(site, terms, clock, dry_run=dry_run, users=users)


def idle(site: SiteValues, terms: Terms, now: int) -> list[str]:
    """The lease names that nobody has used for the site's idle time, by the time that every program touches."""
    with Gridmapdir(site.gridmapdir) as directory:
        names = [name for name, _ in directory.entries() if name.startswith("%")]
        seen = [(name, directory.look(name)) for name in sorted(names)]
    return [name for name, status in seen if status and status.st_mtime_ns // 1000 < now - terms.idle]


def answer(site: SiteValues, terms: Terms, now: int, *, users: Users = pwd) -> list[nodes.Answer]:
    """Empty what has cooled and is idle on this machine, and publish what is left of each cooling account here.

    Raises ConfigurationError, EvidenceError or Unavailable; nothing new is published then, which means busy.
    """
    answers = []
    with Gridmapdir(site.gridmapdir) as directory:
        before = nodes.read(directory, site.node)
        for name, lease, _ in cooling.find(directory):
            known = cooling.read(directory, name, lease)
            try:
                why = answer_for(name, lease, known, site, terms, now, users)
            except (GridwardenError, OSError) as error:
                why = str(error)
            answers.append(nodes.Answer(name, lease, " ".join(why.split())))
        nodes.write(directory, nodes.Said(site.node, ledger.boot_id(), now, tuple(answers)))
    for name, lease, why in (new for new in answers if before is None or new not in before.answers):
        facts: dict[str, Value] = {
            "account": name, "lease": lease, "answer": nodes.BUSY if why else nodes.NONE, "detail": why
        }  # fmt: skip
        ledger.append(site.ledger, "node_answer", facts, node=site.node, cluster=site.cluster)
    return answers


def answer_for(
    name: str, lease: str, known: cooling.Cooling | None, site: SiteValues, terms: Terms, now: int, users: Users
) -> str:
    """Why something of a cooling account may be left here, once it was emptied; or nothing."""
    if known is None or not known.since or now < known.since + terms.cooling:
        return "it is still cooling"
    account = accounts.usable(name, users)
    if account.uid != known.uid:
        return f"its uid is {account.uid} here, not {known.uid}"
    with register.AccountLock(terms.locks, name, protocol.LOCK_SECONDS):
        home = users.getpwnam(name).pw_dir
        kind = child.ask(lambda: file_system(Path(home)), HOME_SECONDS)
        if kind is None:
            return f"its home {home} does not answer"
        is_local = kind in LOCAL_FILE_SYSTEMS  # else whoever frees the account rebuilds it
        settling.unpublish(known, site)
        return (
            why_running(account, site, terms)
            or emptied(account, lease, site, terms, home if is_local else "")
            or why_running(account, site, terms)
            or why_held(name, site)
        )


def why_busy(account: Account, site: SiteValues, terms: Terms) -> str:
    """Which job of the account is anywhere, pending or running, or why that cannot be told; or nothing."""
    if why := why_running(account, site, terms):
        return why
    jobs = slurm_queue.jobs_of(account.uid, terms.slurm_programs)
    if jobs is None:
        return f"{terms.slurm_programs}/squeue did not say whether it has jobs"
    return f"it has jobs: {shown(jobs)}" if jobs else ""


def why_running(account: Account, site: SiteValues, terms: Terms) -> str:
    """Which job of the account is on this machine, or why that cannot be told; or nothing."""
    if jobs := register.names_of(site.register, account.name):
        return f"it has jobs here: {shown(jobs)}"
    before, pattern, _ = slurm_spool.on_this_host(terms.slurm_spool).partition("%n")
    if not os.path.lexists(os.path.dirname(before) if pattern else before):
        return ""  # no slurmd has ever run here
    others = {(entry.node, entry.job) for entry in register.everything(site.register)}
    running = slurm.runs_as(account.uid, terms.slurm_spool, others)
    if running is None:
        return "it cannot be told what runs here"
    return "a job step here is its own" if running else ""


def why_alive(account: Account) -> str:
    """Which process of the account is on this machine, or nothing."""
    alive = [f"{process.pid} ({process.command})" for process in proc.owned_by(account.uid)]
    return f"it has processes here: {shown(alive)}" if alive else ""


def why_held(account: str, site: SiteValues) -> str:
    """Why this machine still says that somebody holds the account, or nothing."""
    try:
        holders.read(site.holders, account)
    except Refused as refusal:
        return "" if refusal.reason == reasons.HOLDER_MISSING else refusal.detail
    return "a holder file here gives it to somebody"


def why_lent(account: str, terms: Terms) -> str:
    """Which payload here has not given back yet what it was lent, of the account or by it; or nothing.

    What is a pilot's is not to be emptied with a payload's account, nor to be given to whoever has the pilot's by then.
    """
    states = payloads.everything(terms.payloads) if terms.payloads else []
    lent = [
        f"payload {state.payload} has not given back {state.scratch}"
        for state in states
        if state.scratch and account in (state.account, state.pilot)
    ]
    return shown(lent)


def emptied(account: Account, lease: str, site: SiteValues, terms: Terms, home: str) -> str:
    """Empty the account on this machine, record what went, and say what is left, or nothing.

    Nothing is touched of an account that is on hold for an incident.  Raises EvidenceError when what went cannot be
    recorded; then the account counts as busy.
    """
    if hold := holds.why_held(site.holds, account.name):
        return f"it is on hold: {hold}"
    if lent := why_lent(account.name, terms):
        return lent
    with Room(site.ledger):
        done = hand_over.empty(
            account.name, account.uid, account.gid, list(terms.scratch), home if terms.skeleton else "", terms.skeleton
        )
    if terms.quota and home:
        why = child.ask(lambda: quota.why_left(home, account.uid), HOME_SECONDS)
        if why is None or why:
            done.left.append((home, "does not answer" if why is None else why))
    about: dict[str, Value] = {
        "account": account.name, "uid": account.uid, "lease": lease, "batch": None, "job": None
    }  # fmt: skip
    records: list[tuple[str, dict[str, Value]]] = [
        (
            "kill",
            {
                **about,
                **trace.fields(process, done.command_lines),
                "subject": "",
                "signal": signals.SIGKILL,
                "why": NO_JOB,
            },
        )
        for process in done.killed[:MOST_RECORDS]
    ]
    records += [("removed", {**about, "path": path}) for path in done.removed[:MOST_RECORDS]]
    if (missing := len(done.killed) + len(done.removed) - len(records)) > 0:
        what = f"records of what was cleared away of {account.name}"
        records.append(("gap", {"what": what, "reason": f"there are {missing} more", "bytes": None, "sha256": None}))
    if records:
        seq, head = ledger.append_all(site.ledger, records, node=site.node, cluster=site.cluster)
        syslog_line.decision(
            "clean-up", "removed", account=account.name, lease=lease, files=len(done.removed), seq=seq, head=head
        )
    return why_alive(account) or shown([f"{what}: {why}" for what, why in done.left])


def shown(things: list[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(things) - MOST_NAMED} more" if len(things) > MOST_NAMED else ""
    return ", ".join(things[:MOST_NAMED]) + more
