"""One run of the pruner: look at this machine, judge, and clear away what no live job accounts for.

Whoever is to be touched is judged twice: once to find them, and again under the lock of their account, under
which prologs start jobs and epilogs end them.
"""

from __future__ import annotations

import os
import time

from gridwarden import payloads, proc, register, trusted
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.prune import clear, holds
from gridwarden.prune import report as reporting
from gridwarden.prune.judge import may_be_emptied
from gridwarden.prune.leavings import clear_leavings, from_anywhere
from gridwarden.prune.machine import Machine, owner_of
from gridwarden.prune.recording import Recorder
from gridwarden.prune.report import Report
from gridwarden.prune.signals import STOPPED, Urgent, key

TYPE_CHECKING = False  # typing's own costs a quiet run 6 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.prune.judge import Verdict
    from gridwarden.prune.machine import Sight, Site

UNSEEN = "there may be some: processes started while others were looked at, and halting those did not work"
UNLED = "its launcher was killed; a run that kills ends it, records its end and gives back what it was lent"
OWED = "the directory that it was lent could not be given back yet"
IN_TURN = "it takes the uid of somebody else in turn, and had that one when it was to be signalled"
LOCK_SECONDS = 10.0  # for an account that a prolog or an epilog is busy with; the next run comes to it again
KILL_SECONDS = 15.0  # for one account: what is left by then hangs, or forks too fast; others have a right, too


def sweep(site: Site, *, kill: bool, seconds: float) -> Report:
    """Find strays and what accounts without a job left; with ``kill``, clear both away.

    Takes at most ``seconds``, and then reports what was not reached.  Raises EvidenceError when a kill could
    not be recorded (the run then ends), ConfigurationError, Unavailable.
    """
    began = time.monotonic()
    report = Report(acts=kill)
    if kill:
        os.close(trusted.open_directory(site["ledger"][0]))  # no kill without a record
        _recover_payloads(site, report)
    else:
        _report_payloads(site, report)
    machine = Machine(site, began + seconds)
    with Urgent():
        sight = machine.look_closely()
        report.judged((verdict for verdict in sight.verdicts if not verdict.stray), reporting.SPARED)
        if not sight.snapshot.is_whole:
            report.left("", [("processes that no look saw", UNSEEN)])
        accounts = {verdict.owner: verdict.account for verdict in sight.verdicts if verdict.stray}
        for uid, account in from_anywhere(sorted(accounts.items())):
            if kill and not machine.left():
                report.left(account, [(f"{len(sight.strays_of(uid))} processes of uid {uid}", "not reached in time")])
            elif kill:
                _clear_processes(machine, uid, account, report)
            else:
                _report_processes(machine, uid, sight, report)
        if kill and not sight.unknown():
            _report_escaped(sight, report)
    for batch, why in sight.unknown().items():
        report.doubt(batch, why)
    for account, what, why in sight.doubts():
        report.doubt_about(account, what, why)
    if not report.unknown:
        clear_leavings(machine, sight, report)
    report.left("", list(machine.rules.lent.faults.items()))
    report.seconds = time.monotonic() - began
    return report


def _recover_payloads(site: Site, report: Report) -> None:
    """See to payloads whose launchers were killed: their accounts have no job of theirs any more then."""
    directory = site.get("payloads", [""])[0]
    if payloads.without_launcher(directory) or payloads.leftovers(directory):
        from gridwarden.prune.payload_recovery import recover_all  # noqa: PLC0415 - hardly any run finds one

        left = recover_all(site)
        report.left("", left)
        _report_payloads(site, report, [what for what, _ in left])


def _report_payloads(site: Site, report: Report, reported: Sequence[str] = ()) -> None:
    """Report payloads whose launchers were killed; what they ran is among the strays, unless a batch system counts it."""
    directory = site.get("payloads", [""])[0]
    for payload in payloads.without_launcher(directory):
        if f"payload {payload}" in reported:
            continue
        try:
            state = payloads.read(directory, payload)
        except ConfigurationError as error:
            report.left("", [(f"payload {payload}", str(error))])
        else:
            why = f"{OWED}: {state.scratch}: {state.owed}" if state and state.owed else UNLED
            report.left(state.account if state else "", [(f"payload {payload}", why)])


def _report_processes(machine: Machine, uid: int, sight: Sight, report: Report) -> None:
    strays = sight.strays_of(uid)
    hold = holds.why_held(machine.site, strays[0].account)
    report.judged(strays, reporting.WOULD_FREEZE if hold else reporting.WOULD_KILL, hold)


def _clear_processes(machine: Machine, uid: int, account: str, report: Report) -> None:
    """Look and judge again under the account's lock, and act on that alone."""
    try:
        with register.AccountLock(machine.site["locks"][0], account, min(LOCK_SECONDS, machine.left())):
            sight = machine.look_closely()
            for batch, why in sight.unknown().items():
                report.doubt(batch, why)
            if report.unknown:
                return
            if sight.strays_of(uid):
                _act(machine, uid, sight, report)
            elif not sight.snapshot.is_whole:
                report.left(account, [(f"processes of uid {uid}", UNSEEN)])
    except Unavailable as error:
        report.left(account, [(f"processes of uid {uid}", str(error))])


def _act(machine: Machine, uid: int, sight: Sight, report: Report) -> None:
    """Kill or freeze the strays of an account, all at once where nothing else of it is or can come."""
    first = sight.strays_of(uid)[0]
    owner = owner_of(machine, first.account, uid)
    hold = holds.why_held(machine.site, first.account)
    recorder = Recorder(machine.site, owner)
    term = float(machine.site.get("prune_term_seconds", ["0"])[0])
    seconds = min(KILL_SECONDS + term, machine.left())
    empty = may_be_emptied(uid, sight.verdicts, sight.answers)
    if not (empty and machine.starts_jobs_under_lock()):
        again = Again(machine, uid, sight)
        outcome = clear.beside_a_job(
            owner, recorder, again, first.reason, hold=hold, seconds=seconds, term_seconds=term
        )
        outran = empty and bool(outcome.left)
        if outran:
            sight = machine.look_closely()
            outran = may_be_emptied(uid, sight.verdicts, sight.answers)
        report.processes(owner, outcome, first.reason, first.job, hold, left=not outran)
        if not outran:
            return
        term, seconds = 0.0, min(KILL_SECONDS, machine.left())
    outcome = clear.everything(owner, recorder, first.reason, hold=hold, seconds=seconds, term_seconds=term)
    report.processes(owner, outcome, first.reason, first.job, hold)


def _report_escaped(sight: Sight, report: Report) -> None:
    """Report the strays that live on with two uids: set-uid programs let them change whose they are at any moment."""
    for verdict in sight.verdicts:
        was = verdict.process
        if verdict.stray and {was.effective_uid, was.saved_uid} - {was.real_uid, 0}:
            now = proc.read(was.pid)
            if now and key(now) == key(was) and not now.has_ended() and now.state not in STOPPED:
                report.left(verdict.account, [(f"process {now.pid} ({now.command})", IN_TURN)])


class Again:
    """Judge an account's processes anew; batch systems are asked again only about strays not seen before.

    A stray stays one: what is true of it cannot be undone.  Of a process that an earlier answer did not know yet
    only a later one can tell.
    """

    def __init__(self, machine: Machine, uid: int, sight: Sight) -> None:
        self._machine = machine
        self._uid = uid
        self._answers = sight.answers
        self._known = {key(verdict.process) for verdict in sight.strays_of(uid)}

    def __call__(self) -> list[Verdict]:
        """The account's verdicts of this moment."""
        seen = self._machine.read()
        sight = self._machine.judge(seen, self._answers)
        if any(key(verdict.process) not in self._known for verdict in sight.strays_of(self._uid)):
            self._answers = self._machine.ask()
            sight = self._machine.judge(seen, self._answers)
            self._known |= {key(verdict.process) for verdict in sight.strays_of(self._uid)}
        return [verdict for verdict in sight.verdicts if verdict.owner == self._uid]
