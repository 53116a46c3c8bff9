"""Beginning and end of a payload on this machine: what ``hooks.job`` does for a batch job, for a payload.

A payload is a job of its account in the local register, so that neither an epilog nor the pruner takes it for
something left behind, and so that the account is cleared after the last of them.
"""

from __future__ import annotations

import os
import time

from gridwarden import payloads, reasons, register
from gridwarden.batch import NO_BATCH_SYSTEM
from gridwarden.errors import Refused, Unavailable
from gridwarden.hooks import job as batch_job
from gridwarden.prune import payload_end
from gridwarden.prune.payload_end import NOT_OPEN

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.hooks.job import Site
    from gridwarden.payload_state import State

UNLIMITED = 0


def begin(site: Site, state: State, most: int = UNLIMITED) -> tuple[State, int]:
    """Enter the payload in the register and write its state file: the state, and the descriptor that holds its lock.

    ``state`` says already what the payload will be lent.  This process is its launcher from now on.  ``most`` is how
    many payloads of this identity may run here at once.  Raises Refused (payload-limit), Unavailable,
    ConfigurationError, OSError; nothing is left behind then.
    """
    if payloads.without_launcher(site["payloads"][0]):
        from gridwarden.prune.payload_recovery import recover_all  # noqa: PLC0415 - rare

        # Not those of other pilots: giving a large scratch back takes a minute, which is for their next launch to wait.
        def mine(left: State) -> bool:
            return not left.owed and (left.account == state.account or left.pilot_uid == state.pilot_uid)

        recover_all(site, finish, mine)
    state = payloads.here(state)
    with register.AccountLock(site["locks"][0], state.account, batch_job.LOCK_SECONDS):
        if most and (running := _running(site, state)) >= most:
            raise Refused(reasons.PAYLOAD_LIMIT, f"{running} payloads of {state.subject} run here, {most} may")
        held = payloads.write(site["payloads"][0], state)
        try:
            batch_job.enter(_job(state), site, state.lease)
        except BaseException:
            payloads.remove(site["payloads"][0], state.payload)
            os.close(held)
            raise
    return state, held


def started(site: Site, state: State, held: int, process: int, cgroup: str) -> tuple[State, int]:
    """Put on record that ``process``, held before its first instruction, is the payload, in its own ``cgroup`` if any.

    Raises EvidenceError, ConfigurationError, OSError: it must not run then.
    """
    state = payloads.leading(state, process, cgroup)
    held_now = payloads.write(site["payloads"][0], state)
    payload_end.record_start(site, state)  # where it cannot, ``held`` is still good to ``abandon`` with
    os.close(held)
    return state, held_now


def abandon(site: Site, state: State, held: int, scratch: int = NOT_OPEN) -> None:
    """Undo ``begin`` for a payload that never ran and of which there is no ``payload_start``; ``scratch`` as for ``ended``."""
    with register.AccountLock(site["locks"][0], state.account, batch_job.LOCK_SECONDS):
        finish(site, state.but(recorded=1), held, scratch)


def ended(site: Site, state: State, held: int, scratch: int = NOT_OPEN) -> None:
    """Put the end on record, with the figures of ``state``, and clear up; nothing of the payload runs any more.

    ``scratch`` is the descriptor of the directory that the payload was lent, where the caller has that open.
    Raises EvidenceError, ConfigurationError, Unavailable, OSError; its state file then says to the next epilog, run
    of the pruner or launch what is still to be done, with these figures.
    """
    try:
        if not state.recorded:  # who must wait for the account may be killed meanwhile
            held = payloads.write(site["payloads"][0], state, held)
    except OSError:
        pass  # no room in memory: the ledger has some
    with register.AccountLock(site["locks"][0], state.account, batch_job.LOCK_SECONDS):
        finish(site, state, held, scratch)


def finish(site: Site, state: State, held: int, scratch: int = NOT_OPEN) -> None:
    """``ended`` for who holds the account's lock."""
    again = bool(state.owed)  # somebody has cleared up, and the account may be somebody else's now
    state, held = payload_end.settle(site, state, held, scratch)
    try:
        if state.uid != state.pilot_uid and not again:  # the pilot itself lives on
            batch_job.clear_if_last(_job(state), site, state.lease, lambda: runs_elsewhere(state.uid, site))
        if not state.owed:
            payloads.remove(site["payloads"][0], state.payload)
    finally:
        os.close(held)


def runs_elsewhere(uid: int, site: Site) -> bool | None:
    """Whether a batch system runs something of this account here; None where it cannot tell."""
    systems = [name for name in site.get("prune_batch", ["slurm"]) if name != NO_BATCH_SYSTEM]
    if systems == ["slurm"]:
        from gridwarden.batch import slurm  # noqa: PLC0415 - only at the end

        listed = register.everything(site["register"][0])
        others = {(entry.node, entry.job) for entry in listed if entry.batch == "slurm" and entry.uid != uid}
        return slurm.runs_as(uid, site["slurm_spool"][0], others)
    from gridwarden.prune.machine import ASK_SECONDS, Machine  # noqa: PLC0415 - as above

    answers = Machine(site, time.monotonic() + ASK_SECONDS).ask()
    if any(answer.unknown or uid in answer.doubted for answer in answers):
        return None
    owners = {job.owner for answer in answers for job in answer.jobs}
    return True if uid in owners else None if None in owners else False


def _running(site: Site, state: State) -> int:
    """How many payloads of the same identity run here; raises Unavailable when that cannot be told."""
    directory = site["payloads"][0]
    try:
        others = payloads.everything(directory)
    except OSError as error:
        raise Unavailable(f"{directory}: it cannot be told how many payloads run: {error.strerror}") from error
    return sum((other.scheme, other.subject) == (state.scheme, state.subject) for other in others if not other.recorded)


def _job(state: State) -> batch_job.Job:
    """The payload as a job of its account."""
    return batch_job.Job(
        batch=payloads.BATCH,
        cluster=state.cluster,
        node=state.node,
        job=state.payload,
        restart=0,
        account=state.account,
        uid=state.uid,
    )
