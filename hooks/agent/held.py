"""Slurm jobs that job_submit.lua held since nobody could tell who was behind them: released, or cancelled, once that is known.

Only where slurmctld runs.  A job is released for a holder whose lease had begun when it was submitted; under a younger
lease the account may have been somebody else's then, so that job stays held for an administrator.
"""

from __future__ import annotations

import os
import pwd

from gridwarden import holders, ledger, pools, proc, reasons, syslog_line, tab_file
from gridwarden.batch import question
from gridwarden.errors import Refused
from gridwarden.hooks.pilot.job_of import DEBIANS

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.hooks.agent.starters import Send
    from gridwarden.records import Value

    Site = dict[str, list[str]]

MARK = "gridwarden: held"  # admin_comment that job_submit.lua gives, which users cannot
CONTROLLER = "slurmctld"
SLURM_USER = "slurm"  # as SlurmUser of slurm.conf mostly is
SEARCH_SECONDS = 60.0  # between two looks for a controller where there was none
ASK_SECONDS = 10.0
LOOK_SECONDS = 60.0
WIDTH = 128
# Between who maps and slurmctld: what the doctor lets pass. An account of ours cools an hour at least between two leases.
CLOCKS_APART_SECONDS = 2
FIELDS = ("jobid", "username", "submittime", "admin_comment")
MICROSECONDS = 1_000_000


class Job:
    """A held job; ``submitted`` is in seconds since the epoch."""

    __slots__ = ("account", "job", "submitted")

    def __init__(self, job: str, account: str, submitted: int) -> None:
        self.job = job
        self.account = account
        self.submitted = submitted


class Held:
    """Asks slurmctld of this machine, where there is one, every ``agent.held_jobs_seconds`` for such jobs."""

    def __init__(self, site: Site, send: Send, look_for_holders: Callable[[], None]) -> None:
        self._site = site
        self._look_for_holders = look_for_holders
        self._send = send
        self._every = float(site.get("agent_held_jobs_seconds", ["3"])[0])
        self._next = 0.0
        self._busy = self._controls = False
        self._slurm = slurms_uid()

    def on_tick(self, now: float) -> None:
        """Send a child to see to them, if it is time."""
        if self._busy or now < self._next or not self._every:
            return
        self._controls = runs_controller(self._slurm)
        if not self._controls:
            self._next = now + SEARCH_SECONDS
            return
        self._next = now + self._every
        site = self._site

        def work(writing: int) -> None:
            os.write(writing, b"%d" % see_to(site))

        self._busy = self._send(work, self._back, LOOK_SECONDS) is not None

    def look_soon(self) -> None:
        """Look at the next occasion, where there is a controller: a holder file has come, or changed."""
        if self._controls:
            self._next = 0.0

    def _back(self, report: bytes | None) -> None:
        self._busy = False
        if report and report != b"0":
            self._look_for_holders()


def slurms_uid() -> int:
    """The uid of the user ``slurm``, root's where there is none."""
    try:
        return pwd.getpwnam(SLURM_USER).pw_uid
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


def see_to(site: Site) -> int:
    """Release or cancel what can be judged now; how many jobs wait for a holder that is not known yet."""
    waiting = 0
    programs = site["slurm_programs"][0]
    columns = ",".join(f"{field}:{WIDTH}" for field in FIELDS)
    squeue = [f"{programs}/squeue", "--all", "--noheader", "--states=PENDING", f"--Format={columns}"]
    for job in question.ask_for(["/usr/bin/env", "SLURM_TIME_FORMAT=%s", *squeue], parse, ASK_SECONDS):
        try:
            holder = holders.read(site["holders"][0], job.account)
        except Refused as refusal:
            if refusal.reason == reasons.HOLDER_MISSING:
                waiting += 1
            else:
                syslog_line.decision("agent", "held", job=job.job, account=job.account, detail=str(refusal))
            continue
        _act(site, programs, job, holder)
    return waiting


def parse(text: str) -> list[Job] | None:
    """The held jobs among squeue's columns of ``FIELDS``, each ``WIDTH`` wide; None when a line is of another form."""
    found = []
    for line in text.splitlines():
        job, account, submitted, comment = (line[at * WIDTH : (at + 1) * WIDTH].strip() for at in range(len(FIELDS)))
        if comment == MARK:
            if not (job.isdigit() and submitted.isdigit()):
                return None
            found.append(Job(job, account, int(submitted)))
    return found


def _act(site: Site, programs: str, job: Job, holder: holders.Holder) -> None:
    if holder.verdict == holders.BANNED:
        reason = f"banned: {holder.because}"
        _record(site, "cancel", job, holder.lease, reason)
        _run([f"{programs}/scancel", job.job], job, "cancelled", holder.lease)
    elif holder.since // MICROSECONDS > job.submitted + CLOCKS_APART_SECONDS:
        detail = "the holder's lease is younger than the job: release it by hand once it is known whose it is"
        syslog_line.decision("agent", "held", job=job.job, account=job.account, lease=holder.lease, detail=detail)
    else:
        reason = "its holder was not known here when it was submitted, and is now"
        _record(site, "stamp", job, holder.lease, reason)
        control = f"{programs}/scontrol"
        stamp = [control, "update", f"jobid={job.job}", f"admincomment={holder.lease}"]
        if not question.ask([*stamp, f"extra={holder.lease}"], ASK_SECONDS)[1]:
            question.ask(stamp, ASK_SECONDS)  # extra came with 23.11
        _run([control, "release", job.job], job, "released", holder.lease)


def _run(command: list[str], job: Job, outcome: str, lease: str) -> None:
    said, well = question.ask(command, ASK_SECONDS)
    detail = None if well else tab_file.escape(said.strip())
    about: dict[str, str | int | None] = {"job": job.job, "account": job.account, "lease": lease}
    syslog_line.decision("agent", outcome if well else "failed", **about, detail=detail)


def _record(site: Site, kind: str, job: Job, lease: str, reason: str) -> None:
    fields: dict[str, Value] = {
        "batch": "slurm", "job": job.job, "account": job.account, "lease": lease, "reason": reason,
    }  # fmt: skip
    ledger.append(site["ledger"][0], kind, fields, node=os.uname().nodename, cluster=site["cluster"][0])
