"""Slurm jobs that job_submit.lua held since nobody could tell who was behind them: released, or cancelled, once that is known.

Only where slurmctld runs.  A job is released for a holder whose lease had begun when it was submitted; under a younger
lease the account may have been somebody else's then, so that job stays held for an administrator.  One that its user had
held as well is stamped alone.
"""

from __future__ import annotations

import os
import pwd

from gridwarden import holders, ledger, pools, proc, reasons, syslog_line, tab_file, trusted
from gridwarden.batch import question
from gridwarden.errors import GridwardenError, Refused
from gridwarden.hooks.agent.held_jobs import COLUMNS, Job, parse
from gridwarden.hooks.pilot.job_of import DEBIANS

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.agent.starters import Send
    from gridwarden.records import Value

    Site = dict[str, list[str]]
    Told = dict[str, str]

CONTROLLER = "slurmctld"
SEARCH_SECONDS = 60.0  # between two looks for a controller where there was none
ASK_SECONDS = 10.0
LOOK_SECONDS = 60.0
# Between who maps and slurmctld: what the doctor lets pass. An account of ours cools an hour at least between two leases.
CLOCKS_APART_SECONDS = 2
RELEASED_BECAUSE = "its holder was not known here when it was submitted, and is now"
FAILED = "could not "
UNKNOWN = "its holder is not known"
MICROSECONDS = 1_000_000


class Held:
    """Asks slurmctld of this machine, where there is one, every ``agent.held_jobs_seconds`` for such jobs."""

    def __init__(self, site: Site, send: Send, look_for_holders: Callable[[], None]) -> None:
        self._site = site
        self._look_for_holders = look_for_holders
        self._send = send
        self._every = float(site.get("agent_held_jobs_seconds", ["3"])[0])
        self._next = 0.0
        self._busy = self._controls = False
        self._slurm = uid_of(site.get("slurm_user", ["slurm"])[0])
        self._told: Told = {}
        self._fault = ""

    def on_tick(self, now: float) -> None:
        """Send a child to see to them, if it is time."""
        if self._busy or now < self._next or not self._every:
            return
        self._controls = runs_controller(self._slurm)
        if not self._controls:
            self._next = now + SEARCH_SECONDS
            return
        self._next = now + self._every
        site, told = self._site, self._told

        def work(writing: int) -> None:
            trusted.write_all(writing, look(site, told))

        self._busy = self._send(work, self._back, LOOK_SECONDS) is not None

    def look_soon(self) -> None:
        """Look at the next occasion, where there is a controller: a holder file has come, or changed."""
        if self._controls:
            self._next = 0.0

    def _back(self, report: bytes | None) -> None:
        self._busy = False
        try:
            values = tab_file.decode(report or b"")
        except ValueError:
            return  # nothing is known anew: what was said stands
        fault = values.get("fault", [""])[0]
        if fault not in ("", self._fault):
            syslog_line.decision("agent", "failed", detail=fault)
        self._fault = fault
        if not fault:
            self._told = dict(line.split(" ", 1) for line in values.get("job", []))
            if UNKNOWN in self._told.values():
                self._look_for_holders()


def uid_of(user: str) -> int:
    """The uid of SlurmUser, root's where this machine has none of that name."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return 0


def runs_controller(slurm: int) -> bool:
    """Whether a slurmctld of a system user's, or of the uid ``slurm``, runs on this machine."""
    return any(is_controller(int(name), slurm) for name in os.listdir("/proc") if name.isdigit())


def is_controller(pid: int, slurm: int) -> bool:
    """Whether a process is one: anybody may call theirs so, and have each node's root ask the controller every few seconds.

    A reconfiguration has slurmctld execute itself, by the name to which its links lead on Debian.
    """
    try:
        with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            if file.read(16).strip().removesuffix(DEBIANS.encode()) != CONTROLLER.encode():
                return False
    except OSError:
        return False
    found = proc.read(pid)
    return found is not None and (found.real_uid == slurm or not pools.is_ordinary(found.real_uid))


def look(site: Site, told: Told) -> bytes:
    """What ``see_to`` finds, a tab file of ``job`` lines, or the ``fault`` for which it cannot."""
    try:
        return tab_file.encode([("job", f"{job} {said}") for job, said in see_to(site, told).items()])
    except GridwardenError as error:
        return tab_file.encode([("fault", str(error))])


def see_to(site: Site, told: Told) -> Told:
    """Release or cancel what can be judged now; what there is to say of each job that stays held.

    ``told`` is what the last look returned: each thing is said, and recorded, once.
    """
    now: Told = {}
    programs = site["slurm_programs"][0]
    columns = ",".join(f"{column}:{width}" for column, width in COLUMNS.items())
    squeue = [f"{programs}/squeue", "--all", "--noheader", "--states=PENDING", f"--Format={columns}"]
    begun = {job for job, said in told.items() if said.startswith(FAILED)}
    jobs = question.ask_for(
        ["/usr/bin/env", "SLURM_TIME_FORMAT=%s", *squeue], lambda text: parse(text, begun), ASK_SECONDS
    )
    for job in jobs:
        before = told.get(job.job, "")
        try:
            holder = holders.read(site["holders"][0], job.account)
        except Refused as refusal:
            stays = UNKNOWN if refusal.reason == reasons.HOLDER_MISSING else str(refusal)
        else:
            stays = why_not(job, holder) or _act(site, programs, job, holder, before)
        if stays:
            now[job.job] = stays
            if stays not in (before, UNKNOWN):
                outcome = "failed" if stays.startswith(FAILED) else "held"
                syslog_line.decision(
                    "agent", outcome, job=job.job, account=job.account, detail=stays.removeprefix(FAILED)
                )
    return now


def why_not(job: Job, holder: holders.Holder) -> str:
    """Why a job stays held although the account's holder is known; "" when it may be released, or cancelled."""
    if job.of_administrator:
        return "an administrator holds it"
    if holder.verdict != holders.BANNED and holder.since // MICROSECONDS > job.submitted + CLOCKS_APART_SECONDS:
        return f"the lease {holder.lease} is younger than the job: release it by hand once it is known whose it is"
    return ""


def _act(site: Site, programs: str, job: Job, holder: holders.Holder, before: str) -> str:
    """Cancel a job, or stamp and release it; "" once that is done, else why it could not be.  It is on record ``before`` it is tried."""
    about: dict[str, str | int | None] = {"job": job.job, "account": job.account, "lease": holder.lease}
    banned = holder.verdict == holders.BANNED
    begun = f"{FAILED}{'cancel' if banned else 'release'} under lease {holder.lease}: "
    try:
        if not before.startswith(begun):
            because = f"banned: {holder.because}" if banned else RELEASED_BECAUSE
            _record(site, "cancel" if banned else "stamp", job, holder.lease, because)
    except GridwardenError as error:
        return f"{FAILED}record it: {error}"
    try:
        said, well = _cancel(programs, job) if banned else _stamp(programs, job, holder.lease)
        if well and not (banned or job.of_user):  # else its user releases it, and may now
            said, well = question.ask([f"{programs}/scontrol", "release", job.job], ASK_SECONDS)
    except GridwardenError as error:
        said, well = str(error), False
    if not well:
        return f"{begun}{said.strip()}"
    outcome = "cancelled" if banned else "stamped" if job.of_user else "released"
    syslog_line.decision("agent", outcome, **about)
    return ""


def _cancel(programs: str, job: Job) -> tuple[str, bool]:
    return question.ask([f"{programs}/scancel", job.job], ASK_SECONDS)


def _stamp(programs: str, job: Job, lease: str) -> tuple[str, bool]:
    """By itself: Slurm takes no request for that and a held job's release."""
    stamp = [f"{programs}/scontrol", "update", f"jobid={job.job}", f"admincomment={lease}"]
    said, well = question.ask([*stamp, f"extra={lease}"], ASK_SECONDS)
    return (said, well) if well else question.ask(stamp, ASK_SECONDS)  # 22.05 has no extra


def _record(site: Site, kind: str, job: Job, lease: str, reason: str) -> None:
    fields: dict[str, Value] = {
        "batch": "slurm", "job": job.job, "account": job.account, "lease": lease, "reason": reason,
    }  # fmt: skip
    ledger.append(site["ledger"][0], kind, fields, node=os.uname().nodename, cluster=site["cluster"][0])
