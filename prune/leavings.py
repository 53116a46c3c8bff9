"""What accounts without a job on this machine left in scratch and in System V IPC: find it, and clear it away.

By owner, age and lease history: what was last changed before the present holder got the account is a former
holder's and goes at once; the rest when nobody has touched it for ``prune.scratch_age_hours``.
"""

from __future__ import annotations

import os
import time

from gridwarden import payloads, register
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.prune import clear, files, holds, ipc, remove
from gridwarden.prune import report as reporting
from gridwarden.prune.judge import may_be_emptied
from gridwarden.prune.machine import owner_of
from gridwarden.prune.recording import Recorder

TYPE_CHECKING = False  # typing's own costs a quiet run 6 ms
if TYPE_CHECKING:
    from typing import TypeVar

    from gridwarden.prune.files import Left
    from gridwarden.prune.machine import Machine, Sight
    from gridwarden.prune.recording import Owner
    from gridwarden.prune.report import Report

    Item = TypeVar("Item")
    Limits = list[tuple[float, Owner]]  # what has not changed since, in seconds since the epoch, is of that owner
    Places = dict[str, list[str]]  # directory -> names in it

LOCK_SECONDS = 10.0
IPC_SECONDS = 5.0
LAST_SECONDS = 0.5  # of the run, for putting on record what went
HOUR = 3600.0
DEFAULT_AGE_HOURS = "24"


def clear_leavings(machine: Machine, sight: Sight, report: Report) -> None:
    """Clear away, or only report, what every account that has no job here left.  Raises as ``sweep`` does.

    Each account has its share of the time, whatever the others left.
    """
    directories = list(dict.fromkeys([*machine.site.get("scratch", []), *files.POSIX_IPC]))
    try:
        spared = payloads.lent(machine.site.get("payloads", [""])[0])
    except (ConfigurationError, OSError) as error:
        report.left("", [("files", f"it cannot be told which of them are a pilot's: {error}")])
        return
    found, left = files.find(lambda uid: bool(machine.account_to_clear(uid)), directories, machine.left() / 2, spared)
    report.left("", left)
    makers = {uid for one in ipc.everything() for uid in one.uids if machine.account_to_clear(uid)}
    uids = from_anywhere(sorted(makers | found.keys()))
    for place, uid in enumerate(uids):
        places = found.get(uid, {})
        account = machine.account_to_clear(uid)
        until = files.share(machine.deadline - LAST_SECONDS, len(uids) - place)
        if machine.left() <= LAST_SECONDS:
            number = sum(map(len, places.values()))
            report.left(account, [(f"{number} files of uid {uid}", "not reached in time")])
        elif may_be_emptied(uid, sight.verdicts, sight.answers):
            _clear(machine, owner_of(machine, account, uid), places, until, report)


def from_anywhere(accounts: list[Item]) -> list[Item]:
    """The same in turn from another one at each run, since the last may not be reached where they are many."""
    first = int.from_bytes(os.urandom(4)) % max(len(accounts), 1)
    return accounts[first:] + accounts[:first]


def _clear(machine: Machine, owner: Owner, places: Places, until: float, report: Report) -> None:
    hold = holds.why_held(machine.site, owner.account)
    limits = _limits(owner, machine.site, time.time())
    parts = 4 if report.acts else 1  # to act, it is enough to know that there is something to do
    old, left = ([], []) if hold else _old_enough(owner, places, limits, files.share(until, parts))
    paths = [f"{directory}/{name}" for directory, names in places.items() for name in names] if hold else old
    if not report.acts or not (paths or left):
        report.left(owner.account, left)
        for path in paths:
            action = reporting.WOULD_QUARANTINE if hold else reporting.WOULD_REMOVE
            report.add(action, owner.account, path, detail=hold)
    else:
        patience = max(min(LOCK_SECONDS, until - time.monotonic()), 0.0)
        try:
            with register.AccountLock(machine.site["locks"][0], owner.account, patience):
                sight = machine.look()
                for batch, why in sight.unknown().items():
                    report.doubt(batch, why)
                if may_be_emptied(owner.uid, sight.verdicts, sight.answers):
                    _clear_locked(machine, owner, places, limits, until, hold, report)
        except Unavailable as error:
            report.left(owner.account, [(f"files of uid {owner.uid}", str(error))])


def _clear_locked(
    machine: Machine, owner: Owner, places: Places, limits: Limits, until: float, hold: str, report: Report
) -> None:
    """Do it, by the age and so by the holder of each file."""
    spared = payloads.lent(machine.site.get("payloads", [""])[0])  # somebody may have lent one since
    rounds: list[tuple[float | None, Owner]] = [(None, owner)] if hold else [*limits]
    for place, (before, whose) in enumerate(rounds):
        recorder = Recorder(machine.site, whose)
        deadline = files.share(until, len(rounds) - place)
        gone, left = clear.files(whose, recorder, places, deadline, hold=hold, before=before, spared=spared)
        if not hold:
            with recorder.room():
                removed, more = ipc.remove(owner.uid, owner.gid, IPC_SECONDS, before=before)
            recorder.removed(removed)
            gone += removed
            left += more
        action = reporting.QUARANTINED if hold else reporting.REMOVED
        for path in gone:
            report.add(action, owner.account, path, detail=hold, lease=whose.lease, subject=whose.subject)
        report.left(owner.account, left)
        if place < len(rounds) - 1:
            places = _without({*gone, *(path for path, _ in left)}, places)


def _limits(owner: Owner, site: dict[str, list[str]], now: float) -> Limits:
    """Until when, and of whom, things may go: a former holder's, then those that are old."""
    former = owner.since / 1_000_000
    old = now - float(site.get("prune_scratch_age_hours", [DEFAULT_AGE_HOURS])[0]) * HOUR
    limits = [(former, owner.former())] if former else []
    return [*limits, (old, owner)] if old > former else limits


def _old_enough(owner: Owner, places: Places, limits: Limits, deadline: float) -> tuple[list[str], Left]:
    """What would go, and what could not or was not looked at in time, with why."""
    before = limits[-1][0]
    found, all_left = ipc.remove(owner.uid, owner.gid, IPC_SECONDS, before=before, dry_run=True)
    for place, (directory, names) in enumerate(places.items()):
        until = files.share(deadline, len(places) - place)
        old, left = remove.remove(owner.uid, owner.gid, directory, names, until, before=before, dry_run=True)
        found += old
        all_left += left
    return found, all_left


def _without(paths: set[str], places: Places) -> Places:
    return {
        directory: [name for name in names if f"{directory}/{name}" not in paths] for directory, names in places.items()
    }
