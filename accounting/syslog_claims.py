"""What LCMAPS and gLExec wrote into syslog, or into files of their own: who was mapped to which account.  Pure.

Syslog is read as ``heads`` reads it: rsyslog's own form and the traditional one, whose times have no year, RFC 5424, and
``journalctl -o short-iso-precise``.  Formats: LCMAPS 1.6.6 (src/pluginmanager/lcmaps_cred_data.c, src/evaluationmanager/log.c),
whose lines were recorded; of gLExec the lines that LCMAPS writes within it, and those of glexec.mon, the monitor of OSG's
lcmaps-plugins-process-tracking and -glexec-tracking, as src/proc_keeper.cxx writes and the Gratia probe of gLExec reads them.
Nothing in them is quoted or escaped: a name with a double quote in it has no single reading.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

from gridwarden.accounting import claims, heads
from gridwarden.accounting.batch_records import Ignored
from gridwarden.accounting.claims import Claim

if TYPE_CHECKING:
    from datetime import tzinfo

OTHER = "of other programs"
_TIME = r"(?:(?P<iso>\d{4}-\d\d-\d\dT\S+)|(?P<old>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d))"
_SYSLOG = re.compile(
    rf"(?:<\d{{1,3}}>1? ?)?{_TIME} (?P<host>\S+) "
    r"(?:(?P<tag>[^\s:\[]{1,64})(?:\[(?P<pid>[\d#]{1,24})\])?:|(?P<app>\S+) (?P<proc>\S+) \S+ (?:-|\[[^]]*\])|) ?(?P<text>.*)",
    re.ASCII | re.DOTALL,
)
# What journalctl writes between entries, and the further lines of one that has several.
_OF_JOURNALCTL = re.compile(r"-- (?:Logs begin|Journal begins|Boot|Reboot|No entries)\b|\s", re.ASCII)
# LCMAPS's own file: an ident, if it was given one, then pid, level, and the time in UTC.
_OWN = re.compile(
    r"\s*(?:(?P<ident>[^\s:]{1,64}):)?lcmaps\[(?P<pid>\d{1,10})\] +LOG_[A-Z]+: "
    r"(?P<day>\d{4}-\d\d-\d\d)\.(?P<clock>\d\d:\d\d:\d\d)Z: (?P<text>.*)",
    re.ASCII | re.DOTALL,
)
_MAPPED = re.compile(r"DN:\"([^\"]+)\"->mapped uid:'(\d{1,10})'(?:,[sp]gid:'[\d,() ]*')*", re.ASCII)
_MONITOR = re.compile(r"glexec\.mon\[(\d{1,10})#(\d{1,10})\]: (.*)", re.ASCII | re.DOTALL)
_STARTED = re.compile(r"(?:Started, target|New) uid.*?(\d{1,10})", re.ASCII)
_NAMED = re.compile(r"Used DN: \"([^\"]+)\"")
# At the beginning alone: programs log what strangers sent them, too, such as a user's name.
_FINAL = re.compile(r"(?:lcmaps: )?(?:[\w.-]{1,64}: )?LCMAPS CRED FINAL: (DN:.*)", re.ASCII | re.DOTALL)
_MAPS = "->mapped uid:"


def is_syslog(line: str) -> bool:
    """Say whether a line is one of syslog's."""
    return _SYSLOG.match(line) is not None or (line.startswith("--") and _OF_JOURNALCTL.match(line) is not None)


def is_lcmaps(line: str) -> bool:
    """Say whether a line is of LCMAPS's own file."""
    return _OWN.match(line) is not None


def of_syslog(line: str, *, written: int, zone: tzinfo) -> Claim | Ignored:
    """Read a line of syslog; raises ValueError with the reason for one that has no single reading.

    ``written`` (microseconds) is when the file was: a time without a year is of the year before that.
    """
    match = _SYSLOG.fullmatch(line)
    if match is None and _OF_JOURNALCTL.match(line):
        return Ignored(OTHER)
    if match is None:
        raise ValueError("is no line of syslog")
    tag, text = match["tag"] or match["app"], match["text"]
    if not tag:  # such as "last message repeated 3 times", or a mark
        return Ignored(OTHER)
    said = _said(f"glexec.mon[{match['pid']}]: {text}" if tag == "glexec.mon" else text)
    if said is None:
        return Ignored(claims.UNSAID if tag.startswith("glexec") or "lcmaps" in text[:40] else OTHER)
    time = heads.instant(match["iso"], match["old"], written, zone)
    if time is None:
        raise ValueError("its time cannot be read")
    node = match["host"].partition(".")[0]
    pid = match["pid"] or match["proc"] or ""
    log = claims.GLEXEC if tag == "glexec" or said.session else claims.LCMAPS
    return said._replace(log=log, node=node, time=time, pid=said.pid or (int(pid) if pid.isdigit() else None))


def of_lcmaps(line: str, *, node: str) -> Claim | Ignored:
    """Read a line of LCMAPS's own file, of a ``node`` that it does not name; raises ValueError."""
    match = _OWN.fullmatch(line)
    if match is None:
        raise ValueError("is no line of LCMAPS")
    said = _said(match["text"])
    if said is None:
        return Ignored(claims.UNSAID)
    time = heads.instant(f"{match['day']}T{match['clock']}+00:00", None, 0, UTC)
    if time is None:
        raise ValueError("its time cannot be read")
    log = claims.GLEXEC if match["ident"] == "glexec" else claims.LCMAPS
    return said._replace(log=log, node=node, time=time, pid=int(match["pid"]))


_NOTHING = Claim("", "", "", 0)


def _said(text: str) -> Claim | None:
    """Return what a message claims, None for nothing; raises ValueError where it is not clear."""
    if match := _MONITOR.fullmatch(text):
        return _of_monitor(f"{match[1]}#{match[2]}", int(match[2]), match[3])
    final = _FINAL.fullmatch(text)
    if final is None or _MAPS not in final[1]:
        return None  # of somebody whom LCMAPS refused it writes the DN alone
    mapped = _MAPPED.fullmatch(final[1])
    if mapped is None:
        raise ValueError("names nobody clearly: DN and uid cannot be told apart")
    account = claims.account_of(int(mapped[2]))
    return _NOTHING._replace(what=claims.MAPPING, account=account, scheme=claims.X509, subject=mapped[1])


def _of_monitor(session: str, pid: int, text: str) -> Claim | None:
    """Read a line of the monitor of a payload, whose session is its own pid and the payload's."""
    line = _NOTHING._replace(session=session, pid=pid)
    if started := _STARTED.fullmatch(text):
        return line._replace(what=claims.START, account=claims.account_of(int(started[1])))
    if text.startswith("Used DN: "):
        named = _NAMED.fullmatch(text)
        if named is None:
            raise ValueError("names nobody clearly: a quote stands in the DN")
        return line._replace(what=claims.NAME, scheme=claims.X509, subject=named[1])
    return line._replace(what=claims.END) if text.startswith("Terminated") else None
