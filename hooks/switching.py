"""Switch a part of gridwarden off and on on this machine, put that on record, and pick up what was missed meanwhile.

The switch comes first: it must work where the ledger does not, and where site.yaml cannot be read.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gridwarden import install, ledger, node_file, off, register, syslog_line
from gridwarden.batch import slurm_queue
from gridwarden.errors import BadQuestion, ConfigurationError, EvidenceError, GridwardenError
from gridwarden.local_zone import system_zone
from gridwarden.mapper.ban_changes import who
from gridwarden.times import format_instant

if TYPE_CHECKING:
    from gridwarden.off import Switch
    from gridwarden.records import Value
    from gridwarden.register import Entry

_DURATION = re.compile(r"(\d{1,6})([mhd])", re.ASCII)
_UNITS = {"m": 60, "h": 3600, "d": 86400}
LOCK_SECONDS = 10.0
NOT_RECORDED = "starts and ends of jobs on this machine"


def switch_off(part: str, because: str, duration: str) -> tuple[Switch, list[str]]:
    """Switch ``part`` off, for ``duration`` ("90m") if one is given: the switch, and what could not be done besides.

    Raises BadQuestion, OSError, ConfigurationError: it is as it was then.
    """
    now = time.time_ns() // 1000
    found = off.Switch(part, because, who(), now, now + seconds_of(duration) * off.MICROSECONDS if duration else 0)
    install.make_directory(Path(off.DIRECTORY), 0o755, 0)
    off.write(found)
    entries = [("switch", _fields(found, "off"))]
    if part == off.HOOKS:
        entries.append(("gap", _gap(f"{NOT_RECORDED} {_period(found)}", because)))
    return found, _on_record(entries, found, "off")


def switch_on(part: str) -> tuple[bool, list[str]]:
    """Switch ``part`` on: whether it was off, and what could not be done besides; raises OSError, ConfigurationError."""
    if not os.path.lexists(off.path_of(part)):
        return False, _settle() if part == off.HOOKS else []
    try:
        before = off.read(part)
    except ConfigurationError as error:  # whatever it says: root wants it gone
        before = off.Switch(part, str(error), "", 0, 0)
    off.remove(part)
    over = time.time_ns() // 1000
    ended = before._replace(who=who(), until=min(before.until or over, over))
    entries = [("switch", _fields(ended, "on"))]
    if part == off.HOOKS:
        entries.append(("gap", _gap(f"{NOT_RECORDED} {_period(ended)}", before.because)))
    faults = _on_record(entries, ended, "on")
    return True, faults + (_settle() if part == off.HOOKS else [])


def refuse(faults: list[str]) -> None:
    """Raise EvidenceError for what could not be done besides the switching itself."""
    if faults:
        raise EvidenceError("\n".join(faults), "the switch itself is as it was said")


def listed() -> list[dict[str, object]]:
    """A row for each part whose switch is there."""
    rows: list[dict[str, object]] = []
    for part in off.PARTS:
        if not os.path.lexists(off.path_of(part)):
            continue
        try:
            found = off.read(part)
        except ConfigurationError as error:
            if part != off.LAUNCHER:
                rows.append({"part": part, "state": "ignored", "because": str(error)})
                continue
            found = off.doubted(error)
        state = "off" if off.switch(part) else "over"
        times = {
            "since": shown(found.since) if found.since else None,
            "until": shown(found.until) if found.until else None,
        }
        rows.append({"part": part, "state": state, "because": found.because, "who": found.who, **times})
    return rows


def shown(instant: int) -> str:
    """An instant as people read it."""
    return format_instant(instant // off.MICROSECONDS * off.MICROSECONDS, system_zone())


def seconds_of(duration: str) -> int:
    """What ``90m``, ``2h`` or ``3d`` is; raises BadQuestion."""
    match = _DURATION.fullmatch(duration)
    if not match or not int(match[1]):
        raise BadQuestion(f"{duration!r} is no length of time", "write 90m, 2h or 3d")
    return int(match[1]) * _UNITS[match[2]]


def _fields(found: Switch, action: str) -> dict[str, Value]:
    return {
        "part": found.part, "action": action, "because": found.because, "who": found.who, "since": found.since,
        "until": found.until or None,
    }  # fmt: skip


def _period(found: Switch) -> str:
    return f"since {shown(found.since)}" + (f" until {shown(found.until)}" if found.until else "")


def _gap(what: str, because: str) -> dict[str, Value]:
    return {"what": what, "reason": f"hooks switched off: {because}", "bytes": None, "sha256": None}


def _on_record(entries: list[tuple[str, dict[str, Value]]], found: Switch, action: str) -> list[str]:
    """Append the records and say the same to syslog; what could not be recorded."""
    faults: list[str] = []
    seq = head = None
    try:
        site = node_file.read()
        seq, head = ledger.append_all(site["ledger"][0], entries, node=os.uname().nodename, cluster=site["cluster"][0])
    except (GridwardenError, OSError) as error:
        faults.append(f"{found.part} {action}, but that is not on record: {error}")
    until = shown(found.until) if found.until else None
    about: dict[str, Value] = {"part": found.part, "because": found.because, "who": found.who, "until": until}
    syslog_line.decision("switch", action, **about, seq=seq, head=head)
    return faults


def _settle() -> list[str]:
    """Take Slurm's jobs out of the register that are over without an epilog; what could not be told or done."""
    try:
        site = node_file.read()
        entries = [entry for entry in register.everything(site["register"][0]) if entry.batch == "slurm"]
        for uid in sorted({entry.uid for entry in entries}):
            unfinished = slurm_queue.jobs_of(uid, site["slurm_programs"][0], "%A")
            if unfinished is None:
                return [
                    f"which jobs of uid {uid} have ended meanwhile Slurm does not say; gridwarden on hooks asks again"
                ]
            for entry in entries:
                if entry.uid == uid and entry.job not in unfinished:
                    _leave(site, entry)
    except (GridwardenError, OSError) as error:
        return [f"jobs that have ended meanwhile may still count as running: {error}"]
    return []


def _leave(site: dict[str, list[str]], entry: Entry) -> None:
    """Put on record that nobody has seen a job's end, and take it out of the register."""
    with register.AccountLock(site["locks"][0], entry.account, LOCK_SECONDS):
        if entry.file_name() not in register.names_of(site["register"][0], entry.account):
            return  # its epilog was under way
        gap = _gap(f"end of {entry.batch} job {entry.job}, account {entry.account}", "no epilog")
        ledger.append(
            site["ledger"][0], "gap", gap | {"reason": "no epilog has seen it"}, node=entry.node, cluster=entry.cluster
        )
        register.leave(site["register"][0], entry.account, entry.file_name())
