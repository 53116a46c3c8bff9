"""Clear up after launchers that were killed: end what they ran, put that on record, give back what was lent.

A launcher and its guard that are both killed with SIGKILL can do nothing any more; what they ran may live on,
beside a pilot that lives on as well.  Their state file says what that is.  Whoever comes first, an epilog, a run of the
pruner or the next launch, takes its lock and does what they would have done.
"""

from __future__ import annotations

import os
import time

from gridwarden import payloads, proc, register, syslog_line
from gridwarden.errors import GridwardenError, Unavailable
from gridwarden.prune import clear, holds, payload_end, reasons
from gridwarden.prune.change_owner import NOT_IN_TIME
from gridwarden.prune.lent import Lent, LentTo
from gridwarden.prune.orphans import Orphans
from gridwarden.prune.outcome import Outcome
from gridwarden.prune.recording import Owner, Recorder
from gridwarden.prune.signals import SIGCONT, SIGKILL, SIGTERM, has_gone, key, send

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from gridwarden.payload_state import State
    from gridwarden.proc import Process

    Site = dict[str, list[str]]
    Finish = Callable[[Site, State, int], None]

LOCK_SECONDS = 10.0
OWED_SECONDS = 60.0  # of one run, for what was tried before
SLOW_SECONDS = 2.0  # an account can see to it that what is done as itself takes its time
KILL_SECONDS = 15.0
GROUP_SECONDS = 2.0
PAUSE_SECONDS = 0.01
BECAUSE = "launcher killed"


def recover_all(
    site: Site, finish: Finish | None = None, concerns: Callable[[State], bool] = lambda _: True
) -> list[tuple[str, str]]:
    """See to the payloads of this machine whose launcher is gone: (payload, why) of each that must wait.

    ``finish`` does what ``settle`` does not, for who can (``hooks.pilot.begin_end.finish``); ``concerns`` says which to
    see to.  Those of an account wait for the next one as soon as one of them was slow.  What could not be given back before,
    since a file system hangs, is the pruner's alone to try again.  Never raises: whoever calls has work of their own.
    """
    left: list[tuple[str, str]] = []
    account, slow = "", set[str]()
    again_until = time.monotonic() + OWED_SECONDS

    def is_next(state: State) -> bool:
        nonlocal account
        account = "" if state.owed else state.account
        if not concerns(state):
            return False
        if state.owed:
            return time.monotonic() < again_until and not (finish and state.owed == NOT_IN_TIME)
        if account in slow:
            raise Unavailable(f"another payload of {account} took long; this one is the next epilog's or the pruner's")
        return True

    directory = site.get("payloads", [""])[0]
    try:
        if payloads.leftovers(directory):
            payloads.remove_leftovers(directory)
    except (GridwardenError, OSError) as error:
        left.append((directory, str(error)))
    unled = payloads.without_launcher(directory)
    first = int.from_bytes(os.urandom(4)) % max(len(unled), 1)  # from anywhere, since the last may not be reached
    for payload in unled[first:] + unled[:first]:
        began = time.monotonic()
        try:
            recover(site, payload, finish or settle_only, is_next)
        except Exception as error:  # noqa: BLE001 - and a fault of ours, too, is theirs to tell and not to die of
            left.append((f"payload {payload}", str(error) or type(error).__name__))
            syslog_line.decision("payload-end", "left", batch=payloads.BATCH, job=payload, detail=left[-1][1])
        if time.monotonic() - began >= SLOW_SECONDS:
            slow.add(account)
    return left


def recover(site: Site, payload: str, finish: Finish, concerns: Callable[[State], bool] = lambda _: True) -> bool:
    """See to one payload if its launcher is gone and it ``concerns`` the caller; whether that was so.

    Raises Unavailable when it cannot be told what of its account is whose, or that is not to be ended; EvidenceError,
    ConfigurationError, OSError.  The state file stays then, for the next one.
    """
    directory = site["payloads"][0]
    held = payloads.take_over(directory, payload)
    if held is None:
        return False
    try:
        state = payloads.read_open(directory, payload, held)
        if not concerns(state):
            return False
        with register.AccountLock(site["locks"][0], state.account, LOCK_SECONDS):
            if not state.recorded:
                state = payload_end.if_recorded(site, _end(site, state))
            finish(site, state, os.dup(held))
    finally:
        os.close(held)
    return True


def ask_to_end(site: Site, batch: str, job: str) -> None:
    """Have the launchers that live end the payloads of a batch job which is over; raises ConfigurationError, OSError."""
    for state in payloads.everything(site["payloads"][0]):
        launcher = proc.read(state.launcher)
        if (state.batch, state.job) == (batch, job) and launcher and launcher.start == state.launcher_start:
            send(launcher, (0,), SIGTERM)
            send(launcher, (0,), SIGCONT)  # one that was stopped would never hear of it


def settle_only(site: Site, state: State, held: int) -> None:
    """``finish`` for the pruner, which clears accounts in its own time."""
    state, held = payload_end.settle(site, state, held)
    os.close(held)
    if not state.owed:
        payloads.remove(site["payloads"][0], state.payload)


def _end(site: Site, state: State) -> State:
    """End what is left of the payload; the state with the figures that are still to be had."""
    hold = holds.why_held(site, state.account)
    owner = _owner(site, state)
    orphans = Orphans(site, state)
    left = [one.process for one in orphans() if one.stray]
    if left and not hold and _is_own(state):
        _kill_group(state, left, Recorder(site, owner))
    seen_to = state.status >= 0  # by its launcher or guard, which could only not record it
    if seen_to:
        pass  # they have measured all of it
    elif counted := group_cpu(state):
        state = state.but(user=counted[0], system=counted[1], group_cpu=counted[2], measured="cpu.stat")
    elif left:
        state = state.but(user=sum(process.cpu for process in left), measured="processes")
    if any(one.stray for one in orphans()):
        _kill(site, owner, orphans, hold)
    remove_group(state)
    return state if seen_to else state.but(because=state.because or BECAUSE)


def _owner(site: Site, state: State) -> Owner:
    lent = LentTo(Lent(), state.account, state.uid)
    about = (state.account, state.uid, state.gid, state.cluster, state.node)
    return Owner(*about, batch=payloads.BATCH, job=state.payload, lent=lent).look_up(site)


def _kill(site: Site, owner: Owner, orphans: Orphans, hold: str) -> None:
    """Kill, or freeze, one by one; raises Unavailable where some are left."""
    why = reasons.LEFT_ITS_JOB
    recorder = Recorder(site, owner)
    outcome = clear.beside_a_job(owner, recorder, orphans, why, hold=hold, seconds=KILL_SECONDS, term_seconds=0.0)
    if outcome.left:
        what, why = outcome.left[0]
        raise Unavailable(f"payload {owner.job}: {what}: {why}")


def _kill_group(state: State, left: list[Process], recorder: Recorder) -> None:
    """Kill the payload's control group, and put on record who of those that were ``left`` has gone by it."""
    outcome = Outcome()
    with recorder.room():
        outcome.remember(left)
        kill_group(state)
        outcome.keep({key(process): SIGKILL for process in left if has_gone(process)})
    recorder.killed(outcome, reasons.LEFT_ITS_JOB)


def group_cpu(state: State) -> tuple[int, int, int] | None:
    """User, system and all CPU time of the payload's own control group in microseconds (cpu.stat of version 2)."""
    data = _read(state, "cpu.stat").split()
    values = dict(zip(data[::2], data[1::2], strict=False))
    if b"usage_usec" not in values:
        return None
    return int(values[b"user_usec"]), int(values[b"system_usec"]), int(values[b"usage_usec"])


def kill_group(state: State) -> None:
    """Kill all in the payload's own control group, however fast they fork; what it used is counted when they are gone."""
    if not _read(state, "cgroup.procs"):
        return
    try:
        with open(f"{state.cgroup}/cgroup.kill", "wb", buffering=0) as file:
            file.write(b"1")
    except OSError:
        return  # a kernel before 5.14: they are found one by one
    late = time.monotonic() + GROUP_SECONDS
    while _read(state, "cgroup.procs") and time.monotonic() < late:
        time.sleep(PAUSE_SECONDS)


def remove_group(state: State) -> None:
    """Remove the payload's own control group, if nothing is in it."""
    if _is_own(state):
        try:
            os.rmdir(state.cgroup)
        except OSError:
            pass  # gone with its job, or its processes are on hold


def _read(state: State, name: str) -> bytes:
    """A file of the payload's own control group; nothing where it has none any more."""
    try:
        with open(f"{state.cgroup}/{name}" if _is_own(state) else "", "rb", buffering=0) as file:
            return file.read(65536)
    except OSError:
        return b""


def _is_own(state: State) -> bool:
    return os.path.basename(state.cgroup) == payloads.GROUP_PREFIX + state.payload
