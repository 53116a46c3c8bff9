"""Clear an account's processes and files away, or keep them where it is on hold; each with its record.

Callers hold the account's lock, and have found out that a live job accounts for none of them.
"""

from __future__ import annotations

from gridwarden.prune import holds, kill
from gridwarden.prune.files import share
from gridwarden.prune.outcome import Outcome

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gridwarden.prune.files import Identity, Left
    from gridwarden.prune.judge import Verdict
    from gridwarden.prune.recording import Owner, Recorder


def everything(
    owner: Owner, recorder: Recorder, why: str, *, hold: str, seconds: float, term_seconds: float = 0.0
) -> Outcome:
    """Kill or freeze all that runs as an account of which nothing here is protected."""
    if kill.has_nobody(owner.uids):
        return Outcome()  # and no room need be held for its records
    if hold:
        with recorder.room():
            outcome = kill.freeze_account(owner.uids, owner.gid, seconds)
        recorder.frozen(outcome, why, hold)
    else:
        with recorder.room():
            outcome = kill.empty_account(owner.uids, owner.gid, seconds, term_seconds)
        recorder.killed(outcome, why)
    return outcome


def beside_a_job(
    owner: Owner,
    recorder: Recorder,
    judge_again: Callable[[], list[Verdict]],
    why: str,
    *,
    hold: str,
    seconds: float,
    term_seconds: float,
) -> Outcome:
    """Kill or freeze the strays of an account beside what is protected of it."""
    from gridwarden.prune import strays  # noqa: PLC0415 - an epilog has no use for it

    if hold:
        with recorder.room():
            outcome = strays.freeze_strays(owner.uids, owner.gid, judge_again, seconds)
        recorder.frozen(outcome, why, hold)
    else:
        with recorder.room():
            outcome = strays.kill_strays(owner.uids, owner.gid, judge_again, seconds, term_seconds)
        recorder.killed(outcome, why)
    return outcome


def files(
    owner: Owner,
    recorder: Recorder,
    found: dict[str, list[str]],
    deadline: float,
    *,
    hold: str,
    before: float | None = None,
    spared: Collection[Identity] = (),
) -> tuple[list[str], Left]:
    """Remove or quarantine what an account owns in scratch: (paths that are gone, (path, why it is left)).

    ``found``: directory -> names in it.  ``before`` and ``spared`` as in ``remove.remove``; what is on hold has no age.
    """
    gone: list[str] = []
    left: Left = []
    for place, (directory, names) in enumerate(sorted(found.items())):
        until = share(deadline, len(found) - place)
        if hold:
            with recorder.room():
                moved, more = holds.quarantine(owner.uid, owner.account, directory, names, until)
            recorder.quarantined(moved, hold)
            gone += [path for path, _ in moved]
        else:
            from gridwarden.prune import remove  # noqa: PLC0415 - most have left nothing

            with recorder.room():
                removed, more = remove.remove(
                    owner.uid, owner.gid, directory, sorted(names), until, before=before, spared=spared
                )
            recorder.removed(removed)
            gone += removed
        left += more
    recorder.left(left)
    return gone, left
