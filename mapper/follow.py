"""Follow files that somebody else publishes: the last good copy stays until a better one has proven itself."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import ledger, syslog_line, trusted
from gridwarden.errors import ConfigurationError, GridwardenError
from gridwarden.mapper import ban_files, ban_list, bans, map_files
from gridwarden.mapper.ban_changes import who
from gridwarden.mapper.published import READ_LIMIT, Doubt, is_newer, published, seconds, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gridwarden.follow_settings import Followed
    from gridwarden.mapper.site import SiteValues

UPDATED, CURRENT, KEPT, MISSING = "updated", "current", "kept", "missing"


class State(NamedTuple):
    """One followed file: ``state`` (above), the copy's version and age, and why the source was not taken."""

    path: str
    source: str
    state: str
    version: str | None
    age_hours: int | None
    alarm: bool
    detail: str | None


def follow(followed: Followed, check: Callable[[bytes], object], site: SiteValues, *, dry_run: bool) -> State:
    """Take over what is published now if it is newer, signed, and ``check`` raises no ConfigurationError of it.

    Raises ConfigurationError when the copy cannot be trusted, OSError when it cannot be written, EvidenceError when
    taking it could not be recorded.
    """
    old = copy_of(followed)
    state, detail = CURRENT if old else MISSING, None
    try:
        new = published(followed)  # with nothing locked: whoever is slow or dead there must not hold up gridwarden ban
        if is_newer(new, old):
            refuse_unusable(new, check)
            if not dry_run:
                take(followed, new, site)
            state, old = UPDATED, new
    except Doubt as doubt:
        state, detail = KEPT if old else MISSING, str(doubt)
    found = described(followed, old, state, detail)
    if not dry_run and (detail or found.alarm):
        outcome = "refused" if detail else "stale"
        syslog_line.decision("follow", outcome, path=found.path, version=found.version, detail=detail)
    return found


def refuse_unusable(new: bytes, check: Callable[[bytes], object]) -> None:
    """Raise Doubt if those who use the copy could not use this."""
    try:
        check(new)
    except ConfigurationError as error:
        raise Doubt(f"it is signed, but cannot be used: {error.faults[0]}") from None


def take(followed: Followed, new: bytes, site: SiteValues) -> None:
    """Put what is published in the copy's place; raises Doubt where another process has meanwhile put a later one there."""
    with ban_files.alone(followed.path.parent):  # of two, the slower could else put an older one back
        if is_newer(new, copy_of(followed)):
            record(followed, new, site)  # first: what has no record must not decide
            trusted.replace_file(followed.path, new, 0o644)


def failed(followed: Followed, error: GridwardenError | OSError, *, dry_run: bool) -> State:
    """What a file is whose copy cannot be trusted, read or written."""
    state = KEPT if os.path.lexists(followed.path) else MISSING
    if not dry_run:
        syslog_line.decision("follow", "refused", path=str(followed.path), detail=str(error))
    return State(str(followed.path), str(followed.source), state, None, None, alarm=True, detail=str(error))


def standing(followed: Followed) -> State:
    """What the copy is, without a look at the source."""
    try:
        old = copy_of(followed)
    except (ConfigurationError, OSError) as error:
        return failed(followed, error, dry_run=True)
    return described(followed, old, CURRENT if old else MISSING, None)


def described(followed: Followed, data: bytes | None, state: str, detail: str | None) -> State:
    """The state in the terms of a person; a copy that is missing or old is an alarm."""
    version = version_of(data) if data else None
    age = max(0, int(time.time() - seconds(version))) // 3600 if version else None
    alarm = age is None or age >= followed.alarm_hours
    return State(str(followed.path), str(followed.source), state, version, age, alarm, detail)


def copy_of(followed: Followed) -> bytes | None:
    """The bytes of the copy, None where there is none yet; raises ConfigurationError."""
    return trusted.read_file(followed.path, READ_LIMIT) if os.path.lexists(followed.path) else None


def record(followed: Followed, data: bytes, site: SiteValues) -> None:
    """Append which version decides from now on; raises EvidenceError."""
    version = version_of(data)
    fields: dict[str, str | int | None] = {
        "action": "follow", "pattern": str(followed.path), "because": f"version {version}", "who": who(),
    }  # fmt: skip
    seq, head = ledger.append(site.ledger, "ban", fields, node=site.node, cluster=site.cluster)
    syslog_line.decision("follow", UPDATED, path=str(followed.path), version=version, seq=seq, head=head)


def checker(
    followed: Followed, site: SiteValues, additions: Path, check_policy: Callable[[Path, bytes], object]
) -> Callable[[bytes], object]:
    """What reads a published file as those who use its copy will; ``check_policy`` is for files of ``additions``."""
    name = str(followed.source)
    if str(followed.path) in site.bans:
        return lambda data: bans.parse(data, name)
    if str(followed.path) in site.ban_lists:
        return lambda data: ban_list.parse(data, name)
    if followed.path.parent == additions:
        return lambda data: check_policy(followed.path, data)
    return lambda data: map_files.parse(data, name)


def alarms(followed: Iterable[Followed]) -> list[State]:
    """The copies that are missing, older than they may be, or not to be trusted."""
    return [state for state in map(standing, followed) if state.alarm]


def risk(state: State) -> dict[str, object]:
    """An alarm in the form of ``gridwarden doctor``."""
    if state.detail:
        return {"kind": "followed-file-unusable", "detail": state.detail, "remedy": "make it root's own plain file"}
    known = (
        f"is of {state.version}, {state.age_hours} hours ago" if state.version else "is not there, or has no version"
    )
    remedy = f"gridwarden follow says what is wrong with {state.source}; ask its publisher"
    return {"kind": "followed-file-old", "detail": f"{state.path} {known}", "remedy": remedy}
