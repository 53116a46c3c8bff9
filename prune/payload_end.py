"""The end of a payload, whoever sees to it: its launcher, or who clears up after a launcher that was killed.

Callers hold the lock of the payload's account and that of its state file (to put its end on record takes the latter alone),
and nothing of it runs any more.  Whoever is killed in the midst of it leaves a state file from which the next one goes on.
"""

from __future__ import annotations

import os
import time

from gridwarden import child, payload_state, payloads, register, syslog_line
from gridwarden.become import Within
from gridwarden.errors import GridwardenError
from gridwarden.ledger import append, append_all
from gridwarden.records import KINDS

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from gridwarden.payload_state import State
    from gridwarden.prune.files import Left
    from gridwarden.records import Value

    Site = dict[str, list[str]]

GIVE_BACK_SECONDS = 60.0
ANSWER_SECONDS = 2.0  # for its file system to say that it is there
KEEP_SECONDS = 86_400.0  # for a directory that cannot be found, or opened: its file system may come back
REMOVE_SECONDS = 20.0
LONGEST_SAID = 2000  # characters, of which each can take six in a record: a path can be longer than any
SIGNAL_BITS = 0x7F  # of a status of waitpid(2)
NOT_OPEN = -1
AT_END = ("payload", "batch", "job", "restart", "account", "uid", "lease")


def settle(site: Site, state: State, held: int, scratch: int = NOT_OPEN) -> tuple[State, int]:
    """Put the end on record, take back what was lent, and leave the register.

    ``state`` has the figures, ``held`` is the descriptor of its file, ``scratch`` that of the directory which it was lent,
    where the caller has that open.  What comes back is the state, whose file must stay while its ``owed`` says that the
    directory could not be given back yet, and the descriptor that holds the lock then.  Raises EvidenceError,
    ConfigurationError, OSError; the state file then has the figures, for who comes next.
    """
    directory = site["payloads"][0]
    try:
        state, held = record(site, state, held)
    except (GridwardenError, OSError):
        os.close(payloads.write(directory, state, held))
        raise
    left, owed = give_back(state, scratch)
    if not state.owed:
        left += remove_temporary(state)
    elif owed == state.owed:
        left = []  # that is on record
    _record_left(site, state, left)
    if owed != state.owed:
        state = state.but(owed=owed)
        try:
            held = payloads.write(directory, state, held)
        except OSError:
            pass  # as above: who tries again says once more why
    register.leave(site["register"][0], state.account, register_name(state))
    return state, held


def record(site: Site, state: State, held: int) -> tuple[State, int]:
    """Put the end on record, unless it is: the state, which says so, and the descriptor that holds its lock then.

    Raises EvidenceError, ConfigurationError, OSError; it is for the ledger then to say whether that was done, and ``held``
    is still good.
    """
    if state.recorded:
        return state, held
    never_begun = not state.process and state.status < 0
    at = None if never_begun else _record_end(site, state)
    state = state.but(recorded=time.time_ns() // 1000)
    try:
        held = payloads.write(site["payloads"][0], state, held)
    except OSError:
        pass  # no room in memory: should we be killed now, who comes next looks into the ledger
    if at:  # not before, since syslog can keep us waiting
        _log_end(state, at)
    return state, held


def if_recorded(site: Site, state: State) -> State:
    """The state as the ledger has it: whoever recorded the end may have been killed before they could say so.

    Raises OSError, ConfigurationError.
    """
    from gridwarden import ledger_search  # noqa: PLC0415 - not for a launch to pay

    is_there = ledger_search.has(site["ledger"][0], "payload_end", state.payload, state.start / 1_000_000)
    return state.but(recorded=time.time_ns() // 1000) if is_there else state


def register_name(state: State) -> str:
    """The name of the payload's entry in the local register."""
    return register.file_name(payloads.BATCH, state.cluster, state.node, state.payload)


def record_start(site: Site, state: State) -> tuple[int, str]:
    """Record that the payload is about to run; raises EvidenceError, ConfigurationError."""
    fields = state.facts(*KINDS["payload_start"])
    at = append(site["ledger"][0], "payload_start", fields, node=state.node, cluster=state.cluster)
    who = state.facts("lease", "subject", "vo", *(["also_subject"] if state.also_subject else []), "pilot_subject")
    _log(state, "payload-start", "started", at, **who)
    return at


def _record_end(site: Site, state: State) -> tuple[int, str]:
    fields = {**state.facts(*AT_END), **_figures(state), **state.facts("measured", "because")}
    return append(site["ledger"][0], "payload_end", fields, node=state.node, cluster=state.cluster)


def _log_end(state: State, at: tuple[int, str]) -> None:
    known = _figures(state)
    about = {name: known[name] for name in ("status", "signal", "user", "system")}
    _log(state, "payload-end", "ended", at, lease=state.lease, because=state.because, **about)


def _figures(state: State) -> dict[str, Value]:
    known: dict[str, Value] = {
        name: None if getattr(state, name) < 0 else getattr(state, name) for name in payload_state.FIGURES
    }
    status = state.status
    known["signal"] = status & SIGNAL_BITS or None if status >= 0 else None
    known["status"] = os.waitstatus_to_exitcode(status) if status >= 0 and not known["signal"] else None
    return known


def give_back(state: State, scratch: int = NOT_OPEN) -> tuple[Left, str]:
    """Give the scratch directory that the payload was lent back to the pilot; what is left, and why it is still owed.

    Whoever has it open as ``scratch`` gives that back, whatever the payload has called it meanwhile.  Else it is found by
    its path, and is the one that was lent or nothing happens.  It is owed no longer once all of it was reached, or when it
    could not be opened for too long: the pilot can see to that, for one by a link on the way to it, and the account must
    not be taken for as long as the pilot likes.
    """
    if not state.scratch:
        return [], ""
    what = f"scratch directory {state.scratch}"
    if scratch != NOT_OPEN:
        now = _path_of(scratch)
        renamed = [] if now == state.scratch else [(what, f"has another name now, by which it is given back: {now}")]
        left, owed = give_back_open(scratch, state)
        return renamed + left, owed
    from gridwarden.prune.change_owner import NOT_IN_TIME  # noqa: PLC0415 - few sites lend any
    from gridwarden.prune.files import OPEN_DIRECTORY  # noqa: PLC0415

    if child.ask(lambda: str(os.path.lexists(state.scratch)), ANSWER_SECONDS) is None:
        return [(what, f"is not given back to {state.pilot}: {NOT_IN_TIME}")], NOT_IN_TIME
    try:
        top = os.open(state.scratch, OPEN_DIRECTORY)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return [(what, f"is not given back to {state.pilot}: {why}")], why if _may_come_back(state) else ""
    try:
        status = os.fstat(top)
        if (status.st_dev, status.st_ino) == (state.scratch_device, state.scratch_inode):
            return give_back_open(top, state)
    finally:
        os.close(top)
    why = "it is another one now"
    return [(what, f"is not given back to {state.pilot}: {why}")], why if _may_come_back(state) else ""


def _path_of(directory: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{directory}")
    except OSError as error:  # a payload can move it to where its path is longer than any may be
        return f"({(error.strerror or str(error)).lower()})"


def give_back_open(top: int, state: State) -> tuple[Left, str]:
    """``give_back`` for the open directory."""
    from gridwarden.prune.change_owner import Giving, change_owner  # noqa: PLC0415 - as above

    giving = Giving(state.uid, state.pilot_uid, state.scratch_gid, GIVE_BACK_SECONDS, directory_last=True)
    left = change_owner(top, giving)
    owed = next((why for path, why in left if path == "."), "")
    return [(f"scratch directory {state.scratch}: {path}", why) for path, why in left], owed


def _may_come_back(state: State) -> bool:
    return time.time() < state.recorded / 1_000_000 + KEEP_SECONDS


def remove_temporary(state: State) -> Left:
    """Remove the payload's own temporary directory, as its account; what is left, and why."""
    if not state.temporary:
        return []
    directory, name = os.path.split(state.temporary)
    try:
        _remove_copies(state)
        os.rmdir(state.temporary)  # still root's where its launcher was killed before it had given it away
    except FileNotFoundError:
        return []
    except OSError:
        pass  # not empty
    else:
        return []
    from gridwarden.prune import remove  # noqa: PLC0415 - most have left nothing

    _, left = remove.remove(state.uid, state.gid, directory, [name], time.monotonic() + REMOVE_SECONDS)
    return left


def _remove_copies(state: State) -> None:
    """Remove the payload's own copies of its credentials from its temporary directory, with its account's rights.

    Most payloads leave nothing else there, and then no child process need be made to remove it.
    """
    copies = [path for path in (state.proxy, state.token) if path and os.path.dirname(path) == state.temporary]
    if not copies or os.geteuid() != 0:
        return
    from gridwarden.prune.files import OPEN_DIRECTORY  # noqa: PLC0415 - not for the launch to pay

    with Within(state.uid, state.gid, []):
        try:
            directory = os.open(state.temporary, OPEN_DIRECTORY)
        except OSError:
            return
        for path in copies:
            try:
                os.unlink(os.path.basename(path), dir_fd=directory)
            except OSError:
                pass  # the payload has removed it, or made something else of it
        os.close(directory)


def _record_left(site: Site, state: State, left: Left) -> None:
    """Put on record, as gaps, what could not be given back or removed."""
    if not left:
        return
    whose = f"of payload {state.payload}, account {state.account}"
    left = [(what[:LONGEST_SAID], why[:LONGEST_SAID]) for what, why in left]
    nothing: dict[str, Value] = {"bytes": None, "sha256": None}
    entries = [("gap", {"what": f"{what} {whose}", "reason": why, **nothing}) for what, why in left]
    at = append_all(site["ledger"][0], entries, node=state.node, cluster=state.cluster)
    for what, why in left:
        _log(state, "payload-end", "left", at, detail=f"{what}: {why}")


def _log(state: State, event: str, outcome: str, at: tuple[int, str], **fields: Value) -> None:
    about: dict[str, Value] = {
        "batch": payloads.BATCH, "job": state.payload, "account": state.account, "node": state.node,
    }  # fmt: skip
    syslog_line.decision(event, outcome, **about, **fields, seq=at[0], head=at[1])
