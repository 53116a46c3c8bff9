"""Would this person be banned, and by what; and can the ban files be relied on."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gridwarden import holders, reasons
from gridwarden.errors import BadQuestion, Refused
from gridwarden.mapper import ban_list, bans
from gridwarden.mapper.ban import EXPIRED, IN_FORCE, NOT_YET, PATTERN, identity_of, is_met, moment
from gridwarden.mapper.identity import Identity, is_fqan, without_null

if TYPE_CHECKING:
    from gridwarden.mapper.ban import Ban
    from gridwarden.mapper.site import SiteValues

RFC_2253 = re.compile(r"[A-Za-z][A-Za-z0-9.]* ?=")


def matching(  # noqa: PLR0913 - one argument an attribute that a ban can ask for
    subject: str,
    site: SiteValues,
    *,
    fqans: tuple[str, ...] = (),
    issuer: str = "",
    vo: str = "",
    jti: str = "",
    serial: str = "",
    ca: str = "",
    account: str = "",
) -> list[dict[str, object]]:
    """A row for each ban that is met, whenever it holds, those in force first.

    With ``account`` alone, of who holds it on this machine, or of whoever will.  Raises BadQuestion,
    ConfigurationError, and Refused (holder-invalid) for an account whose holder file cannot be trusted.
    """
    if account and not any((subject, fqans, issuer, vo, jti, serial, ca)):
        person = holder_of(account, site)
    else:
        person = somebody(subject, tuple(map(without_null, fqans)), issuer=issuer, vo=vo, jti=jti, serial=serial, ca=ca)
    now = moment()
    met = [ban for ban in bans.everywhere(site) if is_met(ban, person, account)]
    return [row(ban, now) for ban in sorted(met, key=lambda ban: ban.state(now) != IN_FORCE)]


def holder_of(account: str, site: SiteValues) -> Identity:
    """Who holds an account on this machine, or nobody in particular; raises Refused (holder-invalid)."""
    try:
        return identity_of(holders.read(site.holders, account))
    except Refused as refusal:
        if refusal.reason != reasons.HOLDER_MISSING:
            raise
        return Identity("local", "", (), "", "", 0, limited=False)


def somebody(subject: str, fqans: tuple[str, ...], *, issuer: str, vo: str, jti: str, serial: str, ca: str) -> Identity:
    """The identity that a question describes, a token's also by ``ISSUER,SUB``.

    Raises BadQuestion for two kinds of it, and for names in a form that nobody has here.
    """
    if wrong := next((fqan for fqan in fqans if not is_fqan(fqan)), None):
        raise BadQuestion(f"{wrong} is no FQAN", "write /cms or /cms/Role=pilot")
    if RFC_2253.match(subject):
        raise BadQuestion(
            f"{subject} is no DN in slash form", "write /DC=org/DC=example/CN=Anna, the country or DC first"
        )
    is_token = bool(issuer or jti)
    if is_token and (serial or ca or fqans):
        raise BadQuestion("--issuer and --jti are a token's, --serial, --ca and --fqan a certificate's", "ask twice")
    if is_token or not (subject.startswith("/") or serial or ca or fqans):
        whole = f"{issuer},{subject}" if issuer else subject
        named, comma, _ = whole.partition(",")
        issuer = named if comma else ""
        return Identity("token", whole, (), vo, f"jti={jti}" if jti else "", 0, limited=False, issuer=issuer)
    try:
        credential = f"{ban_list.serial(serial) if serial else ''}{ca}"
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    return Identity("x509", subject, fqans, vo, credential, 0, limited=False)


def files(site: SiteValues) -> list[dict[str, object]]:
    """A row for each file: how many bans, and what of it an administrator may not have meant.

    Raises ConfigurationError for one that cannot be relied on.
    """
    now = moment()
    rows: list[dict[str, object]] = []
    for paths, read in ((site.bans, bans.read), (site.ban_lists, bans.read_lists)):
        for path in paths:
            known = read([path])
            states = Counter(ban.state(now) for ban in known)
            remarks = [
                f"line {ban.line}: LCMAPS takes [ for a set and does not ban the name that it spells"
                for ban in known
                if misleads(ban)
            ]
            counts = {"in_force": states[IN_FORCE], "expired": states[EXPIRED], "not_yet": states[NOT_YET]}
            rows.append({"file": str(path), "bans": len(known), **counts, "remarks": "; ".join(remarks) or None})
    return rows


def misleads(ban: Ban) -> bool:
    """Whether LCMAPS would not match the pattern with the very name that it spells: ``[`` begins a set there."""
    return any(kind == PATTERN and not fnmatchcase(pattern, pattern) for kind, pattern in ban.conditions)


def row(ban: Ban, now: str) -> dict[str, object]:
    """A ban as ``gridwarden ban list`` shows it, less its accounts."""
    said = {"because": ban.because, "author": ban.author, "from": ban.start or ban.made, "until": ban.end}
    where = {"state": ban.state(now), "file": ban.file, "line": ban.line}
    return {"pattern": ban.pattern, **{key: value or None for key, value in said.items()}, **where}
