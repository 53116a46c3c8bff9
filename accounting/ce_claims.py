"""What computing elements wrote of whose job became which: BLAH's accounting log, and the audit log of HTCondor-CE.  Pure.

Formats: logAccInfo in src/server.c of BLAH 2.2, where the time is UTC and nothing is escaped, which HTCondor-CE's
condor_batch_blah.py writes, too, and APEL reads; AuditLogNewConnection in src/condor_schedd.V6/schedd.cpp of HTCondor, whose
lines were recorded of 23.9.6, in local time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

from gridwarden.accounting import claims
from gridwarden.accounting.batch_records import HTCONDOR, PBS, Ignored
from gridwarden.accounting.claims import Claim
from gridwarden.times import MICROSECONDS

NOBODY = "without a credential"
LOCAL = "of local users and daemons"
_PAIRS = re.compile(r'"([A-Za-z]+)=([^"]*)"(?: +|$)', re.ASCII)
_KEYS = ("timestamp", "userDN", "userFQAN", "ceID", "jobID", "lrmsID", "localUser", "clientID")
_AUDIT = re.compile(
    r"(\d\d/\d\d/\d\d(?:\d\d)? \d\d:\d\d:\d\d)(?:\.\d+)? (?:\([A-Za-z_:\d]+\) )*(.*)", re.ASCII | re.DOTALL
)
_OF_CONNECTION = re.compile(r"[\d/]{8,10} [\d:.]+ .*\(cid:\d+\) ", re.ASCII)
_WHO = re.compile(r"AuthMethod=([A-Z_]+), AuthId=(.+), CondorId=([^,@\s]+)@\S*")
_TOKENS = {"SCITOKENS"}
_CERTIFICATES = {"GSI", "SSL"}
_GLOBAL_ID = re.compile(r"[^#]+#(\d+\.\d+)#\d+", re.ASCII)


def is_blah(line: str) -> bool:
    """Say whether a line is of BLAH's accounting log."""
    return line.startswith('"timestamp=')


def is_audit(line: str) -> bool:
    """Say whether a line is of an audit log of HTCondor's."""
    return _OF_CONNECTION.match(line) is not None


def of_blah(line: str, *, node: str) -> Claim | Ignored:
    """Read a line of BLAH's accounting log, of a ``node`` where its ceID names none.

    Raises ValueError for one that has two readings: a DN that closes the quotes could name another job.
    """
    found: dict[str, str] = {}
    at = 0
    while match := _PAIRS.match(line, at):
        key, value = match[1], match[2]
        if key not in _KEYS or (key in found and key != "userFQAN"):
            raise ValueError(f"{key[:40]!r} stands twice, or is nothing that BLAH writes")
        found.setdefault(key, value)  # the first FQAN is the primary one
        at = match.end()
    if at < len(line) or not found.keys() >= {"timestamp", "userDN", "lrmsID"}:
        raise ValueError("is not KEY=VALUE in double quotes, or timestamp, userDN or lrmsID is missing")
    if not found["userDN"]:
        return Ignored(NOBODY)
    batch, job = lrms_job(found["lrmsID"])
    user, fqan = found.get("localUser", ""), found.get("userFQAN", "")
    return Claim(
        log=claims.BLAH,
        what=claims.JOB,
        node=re.split(r"[:/.]", found.get("ceID", ""), maxsplit=1)[0] or node,
        time=_instant(found["timestamp"], "%Y-%m-%d %H:%M:%S", UTC),
        account=claims.account_of(int(user)) if user.isascii() and user.isdigit() and len(user) <= 10 else user,
        scheme=claims.X509 if found["userDN"].startswith("/") else claims.TOKEN,
        subject=found["userDN"],
        fqan=fqan,
        vo=claims.vo_of(fqan),
        batch=batch,
        job=job,
    )


def of_audit(line: str, *, node: str, zone: tzinfo) -> Claim | Ignored:
    """Read a line of an audit log of the schedd of an HTCondor-CE on ``node``; raises ValueError."""
    match = _AUDIT.fullmatch(line)
    if match is None:
        raise ValueError("is no line of an audit log of HTCondor's")
    if not match[2].startswith("AuthMethod="):
        return Ignored(claims.UNSAID)
    who = _WHO.fullmatch(match[2])
    if who is None or ", CondorId=" in who[2]:
        raise ValueError("names nobody clearly")
    method, subject, account = who.groups()
    if method in _TOKENS and "," in subject:
        scheme = claims.TOKEN
    elif method in _CERTIFICATES and subject.startswith("/"):
        scheme, subject = claims.X509, _without_fqans(subject)
    else:
        return Ignored(LOCAL)
    year = "%Y" if len(match[1].partition(" ")[0]) > len("11/22/26") else "%y"
    time = _instant(match[1], f"%m/%d/{year} %H:%M:%S", zone)
    return Claim(claims.CE, claims.MAPPING, node, time, account, scheme, subject)


def lrms_job(text: str) -> tuple[str, str]:
    """Return the batch system, where it is told, and the job's number of an LRMS id; raises ValueError.

    PBS's is NUMBER.SERVER, Slurm's a number, HTCondor's its GlobalJobId, or CLUSTER.PROC.
    """
    if match := _GLOBAL_ID.fullmatch(text):
        return HTCONDOR, match[1]
    number, dot, server = text.partition(".")
    if re.fullmatch(r"\d+(?:\[\d+\])?", number, re.ASCII) is None or (dot and not server):
        raise ValueError(f"{text[:80]!r} is no job of a batch system")
    if not dot:
        return "", number
    return (HTCONDOR, text) if server.isdigit() else (PBS, number)


def _without_fqans(subject: str) -> str:
    """Return the DN of ``DN,FQAN,FQAN…``, as HTCondor writes whom it authenticated with VOMS attributes."""
    dn, comma, rest = subject.partition(",/")
    return dn if comma and "=" not in rest.partition("/")[0] else subject


def _instant(text: str, form: str, zone: tzinfo) -> int:
    try:
        return int(datetime.strptime(text, form).replace(tzinfo=zone).timestamp()) * MICROSECONDS
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time") from None
