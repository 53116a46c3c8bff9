"""Ban and unban: rewrite the site's first ban file, and publish the verdict in the holder files.

The file comes first, so that a mapping that publishes a holder meanwhile sees the ban when it looks again.
What a holder file then says is what all ban files together say now, whoever wrote them.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, ledger, register, syslog_line, trusted
from gridwarden.errors import BadQuestion, ConfigurationError, Refused, Unavailable
from gridwarden.mapper import bans, map_files
from gridwarden.mapper.identity import remembered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.holders import Holder
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.site import SiteValues

BECAUSE = "# because: "


class Marked(NamedTuple):
    """A holder whose verdict changed, and how many jobs of theirs run on this machine."""

    holder: Holder
    jobs: int


class Change(NamedTuple):
    """What a ban or its end did, or would do: whether the file changed, and whom it hit.

    ``unreadable`` are accounts whose holder file cannot be trusted; ``unwritten`` says which could not be marked.
    """

    changed: bool
    marked: list[Marked]
    unreadable: list[str]
    unwritten: list[str]


def add(pattern: str, because: str, site: SiteValues, *, dry_run: bool) -> Change:
    """Ban whom ``pattern`` matches; raises BadQuestion for a pattern that the file could not hold.

    Raises EvidenceError if the ban could not be recorded, Unavailable if it could not be published to the
    hooks: it stands all the same.
    """
    line = ban_line(pattern)
    if not because.strip() or not because.isprintable():
        raise BadQuestion("--because needs one line of text", "say why: it is what an administrator reads later")
    path = first_file(site)
    with locked(path):
        known = bans.read(site.bans)
        changed = all(ban.pattern != pattern for ban in known if ban.file == str(path))
        future = [*known, bans.Ban(pattern, str(path), 0)] if changed else known
        if changed and not dry_run:
            text = trusted.read_file(path, bans.READ_LIMIT)
            note = f"{BECAUSE}{because} ({who()}, {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ})"
            added = f"{note}\n{line}\n".encode("utf-8", "surrogateescape")
            rewrite(path, text + b"\n" * (text[-1:] not in (b"\n", b"")) + added)
        change = Change(changed, *mark(future, site, dry_run=dry_run))
    return record("add", pattern, because, change, site, dry_run=dry_run)


def remove(pattern: str, site: SiteValues, *, dry_run: bool) -> Change:
    """Take the ban ``pattern`` away; raises BadQuestion when the first ban file does not hold it."""
    path = first_file(site)
    with locked(path):
        known = bans.read(site.bans)
        numbers = [ban.line for ban in known if (ban.pattern, ban.file) == (pattern, str(path))]
        if not numbers:
            elsewhere = ", ".join(str(ban) for ban in known if ban.pattern == pattern)
            hint = (
                f"it stands in {elsewhere}; edit that file" if elsewhere else "gridwarden ban list shows the patterns"
            )
            raise BadQuestion(f"{path} has no ban {pattern}", hint)
        if not dry_run:
            rewrite(path, without(trusted.read_file(path, bans.READ_LIMIT), numbers))
        future = [ban for ban in known if (ban.pattern, ban.file) != (pattern, str(path))]
        change = Change(True, *mark(future, site, dry_run=dry_run))  # noqa: FBT003 - a field
    return record("remove", pattern, "", change, site, dry_run=dry_run)


def listing(site: SiteValues) -> list[dict[str, object]]:
    """A row for each ban: pattern, because, file, line, accounts (those whose holders it matches, with spaces)."""
    held, _ = readable_holders(site)
    rows: list[dict[str, object]] = []
    for path in site.bans:
        lines = trusted.read_file(path, bans.READ_LIMIT).decode("utf-8", "surrogateescape").split("\n")
        for ban in bans.read([path]):
            above = lines[ban.line - 2] if ban.line > 1 else ""
            hit = [holder.account for holder in held if bans.banned(identity_of(holder), [ban])]
            because = above.removeprefix(BECAUSE) if above.startswith(BECAUSE) else None
            row = {"pattern": ban.pattern, "because": because, "accounts": " ".join(hit)}
            rows.append({**row, "file": ban.file, "line": ban.line})
    return rows


def ban_line(pattern: str) -> str:
    """The line of a ban file that holds ``pattern``; raises BadQuestion when it would be read as another."""
    if not pattern.startswith(bans.BEGINNINGS):
        raise BadQuestion(f"{pattern} matches nobody: a DN or FQAN begins with '/'", "ban '*' followed by a part of it")
    line = f'"{pattern}"'
    try:
        read = map_files.parse_line(line, 1)
    except ValueError as error:
        raise BadQuestion(f"{pattern} cannot stand in a ban file: {error}") from None
    if not read or (read.key, read.rest) != (pattern, "") or "\n" in pattern:
        raise BadQuestion(f"{pattern} cannot stand in a ban file", "put ? in place of a quote, backslash or line end")
    return line


def mark(known: list[bans.Ban], site: SiteValues, *, dry_run: bool) -> tuple[list[Marked], list[str], list[str]]:
    """Give every holder the verdict that the bans say: those marked, files nobody can read, those not written."""
    marked: list[Marked] = []
    unwritten: list[str] = []
    held, unreadable = readable_holders(site)
    for holder in held:
        ban = bans.banned(identity_of(holder), known)
        verdict = holders.BANNED if ban else holders.OK
        if holder.verdict == verdict:
            continue
        holder.verdict, holder.because = verdict, f"{holder.subject} matches {ban.pattern}" if ban else ""
        if not dry_run:
            try:
                holders.publish(site.holders, holder, site.holders_group)
            except OSError as error:
                unwritten.append(f"{site.holders}/{holder.account}: cannot be written: {error.strerror}")
                continue
        marked.append(Marked(holder, len(register.names_of(site.register, holder.account))))
    return marked, unreadable, unwritten


def record(action: str, pattern: str, because: str, change: Change, site: SiteValues, *, dry_run: bool) -> Change:
    """Record a change of the bans; raises EvidenceError, and Unavailable if not every holder could be marked."""
    if change.changed and not dry_run:
        fields: dict[str, str | int | None] = {
            "action": action, "pattern": pattern, "because": because, "who": who(),
        }  # fmt: skip
        seq = head = None
        try:
            seq, head = ledger.append(site.ledger, "ban", fields, node=site.node, cluster=site.cluster)
        finally:
            outcome = "added" if action == "add" else "removed"
            counted: dict[str, str | int | None] = {"holders": len(change.marked), "seq": seq, "head": head}
            syslog_line.decision("ban", outcome, pattern=pattern, because=because, who=who(), **counted)
    if change.unwritten:
        raise Unavailable("\n".join(change.unwritten), "the ban file says it; any gridwarden ban marks them later")
    return change


def readable_holders(site: SiteValues) -> tuple[list[Holder], list[str]]:
    """The holders of this machine, and the accounts whose holder file cannot be trusted (hooks refuse those)."""
    held: list[Holder] = []
    unreadable: list[str] = []
    descriptor = trusted.open_directory(site.holders)
    try:
        for account in sorted(name for name in os.listdir(descriptor) if not name.startswith(".")):
            try:
                held.append(holders.read_at(descriptor, account))
            except Refused:
                unreadable.append(account)
    finally:
        os.close(descriptor)
    return held, unreadable


def identity_of(holder: Holder) -> Identity:
    """Who holds an account, as far as its holder file says."""
    return remembered(holder.scheme, holder.subject, holder.fqans, holder.vo)


def without(text: bytes, numbers: list[int]) -> bytes:
    """A ban file's bytes less the lines ``numbers`` and the reasons that stand above them."""
    lines = text.split(b"\n")
    gone = {number - 1 for number in numbers}
    gone |= {place - 1 for place in gone if place and lines[place - 1].startswith(BECAUSE.encode())}
    return b"\n".join(line for place, line in enumerate(lines) if place not in gone)


def rewrite(path: str | os.PathLike[str], text: bytes) -> None:
    """Replace a ban file as one step, its mode and group kept; raises Unavailable."""
    status = os.stat(path, follow_symlinks=False)
    try:
        trusted.replace_file(path, text, stat.S_IMODE(status.st_mode), status.st_gid)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}", "the bans are as they were") from error


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep two administrators from undoing each other's file or marks: the lock is on the file's directory."""
    descriptor = trusted.open_directory(os.path.dirname(path))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def first_file(site: SiteValues) -> os.PathLike[str]:
    """The ban file that gridwarden writes; raises ConfigurationError when the site has none."""
    if not site.bans:
        raise ConfigurationError("bans: site.yaml names no ban file", "name one, such as /etc/gridwarden/bans")
    return site.bans[0]


def who() -> str:
    """Who gives the command: whom sudo names, or else the user."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
