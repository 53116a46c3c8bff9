"""Follow files that somebody else publishes: the last good copy stays until a better one has proven itself.

A published file begins with ``# version: 2026-11-22T04:00:00Z``, the time of its publication, and beside it, with
``.sig`` behind its name, stand the 64 bytes of its Ed25519 signature (RFC 8032), version and all.  So an old file
shows its age even to whoever sees nothing else, and cannot come back once a newer one was seen.

Nothing else about the source is trusted: neither who owns it, nor that file and signature were read at one moment.
"""

from __future__ import annotations

import base64
import calendar
import fcntl
import os
import re
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import ledger, syslog_line, trusted
from gridwarden.errors import ConfigurationError, GridwardenError
from gridwarden.mapper import ban_list, bans, map_files
from gridwarden.mapper.ban import moment
from gridwarden.mapper.ban_changes import who
from gridwarden.mapper.ban_list import is_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gridwarden.follow_settings import Followed
    from gridwarden.mapper.site import SiteValues

READ_LIMIT = 16 * 1024 * 1024
SIGNATURE_BYTES = 64
CLOCK_SKEW = 300  # seconds that the publisher's clock may be ahead of ours
UPDATED, CURRENT, KEPT, MISSING = "updated", "current", "kept", "missing"
_VERSION = re.compile(rb"# version: ([0-9TZ:-]{20})\n")


class State(NamedTuple):
    """One followed file: ``state`` (above), the copy's version and age, and why the source was not taken."""

    path: str
    source: str
    state: str
    version: str | None
    age_hours: int | None
    alarm: bool
    detail: str | None


class Doubt(Exception):
    """Why a published file is not taken, in one line."""


def follow(followed: Followed, check: Callable[[bytes], object], site: SiteValues, *, dry_run: bool) -> State:
    """Take over what is published now if it is newer, signed, and ``check`` raises no ConfigurationError of it.

    Raises ConfigurationError when the copy cannot be trusted, OSError when it cannot be written, EvidenceError when
    taking it could not be recorded.
    """
    with alone(followed.path):
        return _follow(followed, check, site, dry_run=dry_run)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time follow into a directory: of two, the slower could else put an older version back."""
    descriptor = trusted.open_directory(path.parent)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _follow(followed: Followed, check: Callable[[bytes], object], site: SiteValues, *, dry_run: bool) -> State:
    old = copy_of(followed)
    state, detail = CURRENT if old else MISSING, None
    try:
        new = published(followed)
        if is_newer(new, old):
            check(new)
            state = UPDATED
    except Doubt as doubt:
        state, detail = KEPT if old else MISSING, str(doubt)
    except ConfigurationError as error:
        state, detail = KEPT if old else MISSING, f"it is signed, but cannot be used: {error.faults[0]}"
    if state == UPDATED and not dry_run:
        record(followed, new, site)  # first: what has no record must not decide
        trusted.replace_file(followed.path, new, 0o644)
    found = described(followed, new if state == UPDATED else old, state, detail)
    if not dry_run and (detail or found.alarm):
        outcome = "refused" if detail else "stale"
        syslog_line.decision("follow", outcome, path=found.path, version=found.version, detail=detail)
    return found


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


def published(followed: Followed) -> bytes:
    """The bytes at the source, their signature verified and their version possible; raises Doubt."""
    data, signature = foreign(f"{followed.source}", READ_LIMIT), foreign(f"{followed.source}.sig", SIGNATURE_BYTES)
    if not is_signed(data, signature, base64.b64decode(followed.key)):
        raise Doubt(f"{followed.source}.sig is no signature of it by the key that site.yaml names")
    version = version_of(data)
    if not version:
        raise Doubt(f"{followed.source} does not begin with '# version: ' and a time such as 2026-11-22T04:00:00Z")
    if version > moment(time.time() + CLOCK_SKEW):
        raise Doubt(f"its version {version} is still to come")
    return data


def is_signed(data: bytes, signature: bytes, key: bytes) -> bool:
    """Whether ``signature`` is one of ``data`` by the Ed25519 ``key`` (a SubjectPublicKeyInfo, as site.yaml has it)."""
    from gridwarden.mapper import libcrypto  # noqa: PLC0415 - for this command alone

    public, context = libcrypto.decoded(libcrypto.d2i_public_key, key), libcrypto.digest_context_new()
    if not public or libcrypto.digest_verify_initialise(context, None, None, None, public) != 1:
        return False
    return libcrypto.digest_verify(context, signature, len(signature), data, len(data)) == 1


def is_newer(new: bytes, old: bytes | None) -> bool:
    """Whether ``new`` is to take the place of ``old``; raises Doubt when it goes back or contradicts it."""
    then, now = version_of(old) if old else None, version_of(new) or ""
    if then and now < then:
        raise Doubt(f"its version {now} is older than {then}, which was seen already")
    if then == now and new != old:
        raise Doubt(f"it is another file than the one that had the version {now}")
    return new != old


def copy_of(followed: Followed) -> bytes | None:
    """The bytes of the copy, None where there is none yet; raises ConfigurationError."""
    return trusted.read_file(followed.path, READ_LIMIT) if os.path.lexists(followed.path) else None


def foreign(path: str, limit: int) -> bytes:
    """The bytes of a regular file that anybody may have written; raises Doubt."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Doubt(f"{path} is not a regular file")
            return trusted.read_all(descriptor, limit, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Doubt(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ConfigurationError as error:
        raise Doubt(str(error)) from None


def version_of(data: bytes) -> str | None:
    """The version that a file's first line gives, if that is one."""
    match = _VERSION.match(data)
    version = match[1].decode("ascii") if match else ""
    return version if is_moment(version) else None


def seconds(version: str) -> int:
    """A version as seconds since the epoch; of a day that no month has, the day after."""
    return calendar.timegm(tuple(int(part) for part in re.split("[-T:Z]", version)[:6]))


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
    if followed.path in site.bans:
        return lambda data: bans.parse(data, name)
    if followed.path in site.ban_lists:
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
