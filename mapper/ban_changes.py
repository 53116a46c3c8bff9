"""Ban and unban: rewrite one of the site's own files, and publish the verdict in the holder files.

The file comes first, so that a mapping that publishes a holder meanwhile sees the ban when it looks again.
What a holder file then says is what all ban files together say now, whoever wrote them.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import holders, ledger, register, syslog_line, trusted
from gridwarden.errors import BadQuestion, ConfigurationError, Refused, Unavailable
from gridwarden.mapper import ban_files, ban_history, ban_list, bans, publishing
from gridwarden.mapper.ban import IN_FORCE, Ban, banned_holder, moment
from gridwarden.mapper.identity import as_in_a_dn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gridwarden.holders import Holder
    from gridwarden.mapper.site import SiteValues


class Marked(NamedTuple):
    """A holder whose verdict changed, and how many jobs of theirs run on this machine."""

    holder: Holder
    jobs: int


class Change(NamedTuple):
    """What a ban or its end did, or would do: whether the file changed, and whom it hit.

    ``unreadable`` are accounts whose holder file cannot be trusted; ``unwritten`` says which could not be marked.
    ``met`` are all holders that the ban is of, marked now or before.
    """

    changed: bool
    marked: list[Marked]
    unreadable: list[str]
    unwritten: list[str]
    met: Sequence[Holder] = ()


def add(
    whom: Mapping[str, str], because: str, site: SiteValues, *, start: str = "", end: str = "", dry_run: bool
) -> Change:
    """Ban who meets every condition of ``whom`` (``ban.CONDITIONS``) from ``start`` (empty: at once) until before ``end``.

    A ban with the same conditions in the same file is replaced.  Raises BadQuestion for what the file could not hold
    and for what would ban nobody, EvidenceError if the ban could not be recorded, Unavailable if it could not be
    published to the hooks: it stands all the same.
    """
    if not because.strip() or not because.isprintable():
        raise BadQuestion("--because needs one line of text", "say why: it is what an administrator reads later")
    if end and end <= moment():
        raise BadQuestion(
            f"it would end at {end}, which is past: nobody would be banned", "gridwarden ban remove ends one"
        )
    for value in whom.values():
        if value.startswith(ban_list.BEGINNINGS) and not value.isascii():
            raise BadQuestion(f"{value} matches nobody: no DN holds such a letter", f"write {as_in_a_dn(value)}")
    path = ban_files.file_for(whom, start, end, site)
    ban = new_ban(whom, {"because": because, "author": who(), "made": moment(), "start": start, "end": end}, str(path))
    ban_files.lines(ban, lcmaps=path in site.bans)
    with ban_files.locked(site):
        known = bans.everywhere(site)
        same = [other for other in known if (other.file, other.conditions) == (ban.file, ban.conditions)]
        changed = not any((other.start, other.end) == (start, end) for other in same)
        if changed:
            known = [other for other in known if other not in same] + [ban]
        if changed and not dry_run:
            ban_files.change(path, same, ban, site)
        change = Change(changed, *mark(known, site, ban, dry_run=dry_run))
    return record("add", ban, change, site, dry_run=dry_run)


def remove(whom: Mapping[str, str], site: SiteValues, *, dry_run: bool) -> Change:
    """Take the bans of exactly these conditions away; raises BadQuestion when no file of ours holds one."""
    ban = new_ban(whom, {}, "")
    own = [str(path) for path in ban_files.own(site)]
    with ban_files.locked(site):
        known = bans.everywhere(site)
        same = [other for other in known if other.conditions == ban.conditions]
        gone = [other for other in same if other.file in own]
        if not gone:
            elsewhere = ", ".join(map(str, same))
            hint = f"it stands in {elsewhere}; edit that file" if elsewhere else "gridwarden ban list shows the bans"
            raise BadQuestion(f"{' and '.join(own)} hold no ban {ban.pattern}", hint)
        for path in ban_files.own(site):
            here = [other for other in gone if other.file == str(path)]
            if here and not dry_run:
                ban_files.change(path, here, None, site)
        change = Change(True, *mark([other for other in known if other not in gone], site, dry_run=dry_run))  # noqa: FBT003 - a field
    return record("remove", ban, change, site, dry_run=dry_run)


def refresh(site: SiteValues, *, dry_run: bool) -> Change:
    """Give the holders the verdicts of now: bans have begun or ended, or their files were changed by others."""
    with ban_files.locked(site):
        change = Change(False, *mark(bans.everywhere(site), site, dry_run=dry_run))  # noqa: FBT003 - a field
    if change.unwritten:
        raise Unavailable("\n".join(change.unwritten), "the ban files say it; any gridwarden ban marks them later")
    return change


def new_ban(whom: Mapping[str, str], remarks: Mapping[str, str], file: str) -> Ban:
    """A ban of what somebody typed; raises BadQuestion."""
    if not all(value.isprintable() and value.strip() for value in whom.values()):
        raise BadQuestion("a ban's conditions are each one line of text", "gridwarden ban add --help shows some")
    try:
        return ban_list.checked(whom, remarks, file, 0)
    except ValueError as error:
        raise BadQuestion(str(error), "gridwarden ban add --help shows some") from None


def listing(site: SiteValues) -> list[dict[str, object]]:
    """A row for each ban; ``accounts`` are those whose holders on this machine it matches, with spaces."""
    held, _ = readable_holders(site)
    now = moment()
    return [
        {
            "pattern": ban.pattern,
            "because": ban.because or None,
            "author": ban.author or None,
            "from": ban.start or ban.made or None,
            "until": ban.end or None,
            "state": ban.state(now),
            "accounts": " ".join(holder.account for holder in held if banned_holder(holder, [ban])),
            "file": ban.file,
            "line": ban.line,
        }
        for ban in bans.everywhere(site)
    ]


def mark(
    known: Sequence[Ban], site: SiteValues, added: Ban | None = None, *, dry_run: bool
) -> tuple[list[Marked], list[str], list[str], list[Holder]]:
    """Give every holder the verdict that the bans say: those marked, files nobody can read, those not written, those ``added`` is of.

    A ban of a credential that is ``added`` also meets the holders of leases that it was mapped to before the last one; they
    stay marked until they are mapped with another, or the ban ends.
    """
    marked: list[Marked] = []
    unwritten: list[str] = []
    now = moment()
    current = [ban for ban in known if ban.state(now) == IN_FORCE]
    held, unreadable = readable_holders(site)
    found = {holder.account: banned_holder(holder, current) for holder in held}
    others = [holder for holder in held if not found[holder.account]]
    marked_before = [holder for holder in others if holder.verdict == holders.BANNED]
    try:
        new = [ban for ban in current if added is not None and ban.conditions == added.conditions]
        found |= ban_history.accounts_met([ban for ban in current if ban not in new], marked_before, site)
        found |= ban_history.accounts_met(new, others, site)
    except (OSError, ConfigurationError) as error:
        unwritten.append(f"{error}: who was mapped with it before their last credential is not known")
    met = [holder for holder in held if banned_holder(holder, new) or found[holder.account] in new]
    for holder in held:
        meets = found[holder.account]
        verdict = holders.BANNED if meets else holders.OK
        if holder.verdict == verdict:
            continue
        if not publishing.is_published(holder, site):  # released, or mapped anew, by who has seen the bans
            continue
        holder.verdict, holder.because = verdict, f"{holder.subject} matches {meets.pattern}" if meets else ""
        if not dry_run:
            try:
                holders.publish(site.holders, holder, site.holders_group)
            except OSError as error:
                unwritten.append(f"{site.holders}/{holder.account}: cannot be written: {error.strerror}")
                continue
        marked.append(Marked(holder, len(register.names_of(site.register, holder.account))))
    return marked, unreadable, unwritten, met


def record(action: str, ban: Ban, change: Change, site: SiteValues, *, dry_run: bool) -> Change:
    """Record a change of the bans; raises EvidenceError, and Unavailable if not every holder could be marked."""
    if change.changed and not dry_run:
        pattern = ban.pattern + (f" until {ban.end}" if ban.end else "")
        fields: dict[str, str | int | None] = {
            "action": action, "pattern": pattern, "because": ban.because, "who": who(),
        }  # fmt: skip
        seq = head = None
        try:
            seq, head = ledger.append(site.ledger, "ban", fields, node=site.node, cluster=site.cluster)
        finally:
            outcome = "added" if action == "add" else "removed"
            counted: dict[str, str | int | None] = {"holders": len(change.marked), "seq": seq, "head": head}
            syslog_line.decision("ban", outcome, pattern=pattern, because=ban.because, who=who(), **counted)
    if change.unwritten:
        raise Unavailable("\n".join(change.unwritten), "the ban file says it; any gridwarden ban marks them later")
    return change


def readable_holders(site: SiteValues) -> tuple[list[Holder], list[str]]:
    """The holders of this machine, and the accounts whose holder file cannot be trusted (hooks refuse those)."""
    held: list[Holder] = []
    unreadable: list[str] = []
    descriptor = trusted.open_installed(site.holders)
    try:
        for account in sorted(name for name in os.listdir(descriptor) if not name.startswith(".")):
            try:
                held.append(holders.read_at(descriptor, account))
            except Refused:
                unreadable.append(account)
    finally:
        os.close(descriptor)
    return held, unreadable


def who() -> str:
    """Who gives the command: whom sudo names, or else the user."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
