"""Clear processes and files away after a pool account's last job on a machine, each with its record.

The caller holds the account's lock and knows that nothing of the account may live here.
"""

from __future__ import annotations

import pwd
import time

from gridwarden import payloads
from gridwarden.errors import ConfigurationError
from gridwarden.prune import clear as clearing
from gridwarden.prune import files, holds, reasons
from gridwarden.prune.lent import Lent, LentTo
from gridwarden.prune.recording import Owner, Recorder

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.job import Job, Site

KILL_SECONDS = 10.0
REMOVE_SECONDS = 20.0


def clear(job: Job, site: Site, lease: str) -> None:
    """Kill what runs as the account and remove what it owns in scratch; record what went and what is left.

    On an account that is on hold, stop and keep both.  ``lease`` is that of the account's last job.  Raises EvidenceError, ConfigurationError.
    """
    try:
        entry = pwd.getpwnam(job.account)
    except KeyError:
        _leave(job, site, f"{job.account} has no passwd entry here")
        return
    if entry.pw_uid != job.uid:  # the controller's passwd is not this machine's: that uid is somebody else's here
        _leave(job, site, f"the job's uid was {job.uid}, that of {job.account} is {entry.pw_uid} here")
        return
    lent = LentTo(Lent(), job.account, job.uid)
    owner = Owner(job.account, job.uid, entry.pw_gid, job.cluster, job.node, batch=job.batch, job=job.job, lent=lent)
    owner.look_up(site).lease = lease
    recorder = Recorder(site, owner)
    hold = holds.why_held(site, job.account)
    clearing.everything(owner, recorder, reasons.NO_JOB, hold=hold, seconds=KILL_SECONDS)
    try:
        spared = payloads.lent(site.get("payloads", [""])[0])
    except (ConfigurationError, OSError) as error:
        recorder.left([("files", f"it cannot be told which of them are a pilot's: {error}")])
        return
    deadline = time.monotonic() + REMOVE_SECONDS
    found, left = files.find(lambda uid: uid == job.uid, site.get("scratch", []), REMOVE_SECONDS, spared)
    recorder.left(left)
    clearing.files(owner, recorder, found.get(job.uid, {}), deadline, hold=hold, spared=spared)


def _leave(job: Job, site: Site, why: str) -> None:
    job.log("clean-up", "left", job.gap(site, "clean-up", why), detail=why)
