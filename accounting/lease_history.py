"""Who held an account at a moment, from the records that name the two together.  Pure."""

from __future__ import annotations

from datetime import UTC
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from gridwarden.accounting.account_history import at_once, of_account, seen_next
from gridwarden.accounting.job_runs import Body, number, text
from gridwarden.times import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable

# Kinds of record that name an account together with the lease under which it was lent.  A release is none of
# those that end it: what runs until the account is freed is still its holder's.
KINDS = ("lease", "observation", "job_start", "payload_start", "kill", "freed")
LOCAL = "local"
_LINK = "link:"  # before the lease name, in place of the lease id, of what another program lent
BY_ANOTHER = "; another program lent it under this name, which is in lower case, and not proven"


class Sighting(NamedTuple):
    """A record that says that ``account`` was lent under ``lease`` at ``time`` (microseconds).

    ``begins`` is set for the record of the lending itself, ``ends`` for that of the account's becoming free;
    others only confirm it.  The subject is empty where the record does not name one; ``fqan`` is the primary one, of a
    lending.  ``name`` is the lease name; of what another program lent, all that is known is in it.  ``linked`` is set where
    the links themselves were looked at: of several, each has a record of that time.
    """

    time: int
    account: str
    lease: str
    scheme: str
    subject: str
    vo: str
    begins: bool
    ends: bool = False
    fqan: str = ""
    name: str = ""
    linked: bool = False

    @property
    def is_anothers(self) -> bool:
        """Whether another program lent the account: only its link was seen."""
        return self.lease.startswith(_LINK)


class Candidate(NamedTuple):
    """One who may have held the account, from ``since`` on as far as records show (None: not recorded).

    ``lease`` is empty where another program lent it.
    """

    lease: str
    scheme: str
    subject: str
    vo: str
    since: int | None
    because: str
    fqan: str = ""


def sighting(body: Body) -> Sighting:
    """Read a record of one of ``KINDS``.

    A lease record without a lease name is a mapping to a fixed account, which several people share: it says
    who could be behind the account, not who is, so the account itself stands for them.  An observation without a lease is
    of a link that another program made.
    """
    lending = body.get("kind") == "lease"
    shared = lending and not body.get("name")
    account, name = text(body, "account"), text(body, "name")
    if body.get("kind") == "observation" and name and not text(body, "lease"):
        who = ("x509" if name.startswith("%2f") else "", _readable(name), "")
        return Sighting(number(body, "time"), account, _LINK + name, *who, begins=False, name=name, linked=True)
    return Sighting(
        time=number(body, "time"),
        account=account,
        lease=text(body, "lease"),
        scheme=LOCAL if shared else text(body, "scheme"),
        subject=account if shared else text(body, "subject"),
        vo=text(body, "vo"),
        begins=lending,
        ends=body.get("kind") == "freed",
        fqan=text(body, "fqans").partition(" ")[0],
        name=name,
        linked=body.get("inode") is not None or body.get("evidence") == "holder+link",
    )


def _readable(name: str) -> str:
    """Return what a lease name (``mapper.encoding``) says of the subject, as it is where it is none, or a hash."""
    return unquote(name.partition(":")[0], errors="backslashreplace") if name.startswith("%2f") else name


def holders_within(sightings: Iterable[Sighting], account: str, since: int, until: int) -> list[Candidate]:
    """Return who may have held ``account`` at any time from ``since`` to before ``until``, each lease once."""
    known = list(sightings)
    moments = [since, *(each.time for each in known if each.account == account and since < each.time < until)]
    found = [candidate for moment in moments for candidate in holders_at(known, account, moment)]
    return list({(candidate.lease, candidate.subject): candidate for candidate in found}.values())


def holders_of_job(sightings: Iterable[Sighting], account: str, submit: int, start: int) -> list[Candidate]:
    """Return who may be behind a job: who may have held its account when it was submitted, and when it started."""
    known = list(sightings)
    then, later = (holders_at(known, account, moment) for moment in (submit, start))
    found = {(each.lease, each.subject): each for each in (*then, *later)}
    if not then or len(found) == 1:
        return later
    because = then[0].because
    if len(then) == 1:
        because = f"the account changed hands {window(submit, start)}, while the job waited"
    return [each._replace(because=because) for each in found.values()]


def holders_at(sightings: Iterable[Sighting], account: str, moment: int) -> list[Candidate]:
    """Return who may have held ``account`` at ``moment``: one when the records agree, none when they are silent.

    The account changes hands at a lending, so the last sighting before the moment stands until then, or until
    the account was freed (unless its lease is seen again: it could not be freed after all).  When
    the next sighting is of another lease and is no lending, the change was not recorded: both are candidates.  So are
    all to whom it was linked at once.
    """
    history = of_account(sightings, account)
    before = [each for each in history if each.time <= moment]
    last = before[-1] if before else None
    following = seen_next(history, moment)
    if last is None or (last.ends and last.lease not in {each.lease for each in following}):
        because = "held it at its next sighting; earlier records are missing"
        return [_candidate(each, history, because) for each in following if not each.begins]
    others = [each for each in following if each.lease != last.lease and not each.begins]
    if several := at_once(history, moment):
        return _each_lease([*several.sightings, *others], history, several.because)
    if not others:
        return [_candidate(last, history, "held the account then, by the records of its lending")]
    because = f"the account changed hands {window(last.time, others[0].time)} and no record says when"
    return [_candidate(each, history, because) for each in (last, *others)]


class Held(NamedTuple):
    """Who held an account throughout a job: ``holder``, or nobody who can be named, and who all may have.

    ``because`` says what was seen, or why nobody is named; ``candidates`` is empty where nothing is known, and has more
    than one where the account changed hands.
    """

    holder: Candidate | None
    candidates: list[Candidate]
    because: str


UNSEEN = Held(None, [], "no record says who held its account")


def held_throughout(
    sightings: Iterable[Sighting], account: str, start: int, end: int, submit: int | None = None
) -> Held:
    """Return who held ``account`` from ``start`` to ``end``, by the records of then: never by who holds it now.

    It must have been theirs at ``submit``, too, as far as that is known.

    One who was seen to hold it before the start, and after whom nobody else was until the end, held it.  When another was
    seen before the end, or later without a record of the change, or was linked to it at once, both are candidates.
    """
    history = of_account(sightings, account)
    before = [each for each in history if each.time <= start]
    within = [each for each in history if start < each.time <= end]
    after = seen_next(history, end)
    last = before[-1] if before else None
    if last is not None and last.ends and last.lease not in {each.lease for each in within[:1] or after}:
        last = None  # freed, and not seen again
    if last is None:
        if not within:
            return UNSEEN
        found = _each_lease(within, history, "seen to hold the account while the job ran")
        return Held(None, found, "who held its account was first seen after it had started")
    submitted = next((each for each in reversed(before) if submit is not None and each.time <= submit), last)
    seen = [] if submitted.ends or submitted.lease == last.lease else [submitted]
    seen += [last, *(each for each in within if not (each.ends and each.lease == last.lease))]
    seen += [each for each in after if not each.begins]
    for moment in (start, submit):
        if moment is not None and (several := at_once(history, moment)):
            found = _each_lease([*several.sightings, *seen], history, several.because)
            return Held(None, found, "more than one name was linked to its account")
    changed = next(((a, b) for a, b in pairwise(seen) if a.lease != b.lease), None)
    if changed is None:
        confirmed = any(each.lease == last.lease for each in after)
        because = "seen to hold the account before the job and after it" if confirmed else _AT_START
        holder = _candidate(last, history, because)
        return Held(holder, [holder], because)
    a, b = changed
    when = f"at {format_instant(b.time, UTC)}" if b.begins else window(a.time, b.time)
    because = f"its account changed hands {when}"
    return Held(None, _each_lease(seen, history, because), "its account may have changed hands while it ran")


_AT_START = "seen to hold the account before the job, and nobody else until its end"


def window(begin: int, end: int) -> str:
    """Say between which moments something happened."""
    return f"between {format_instant(begin, UTC)} and {format_instant(end, UTC)}"


def linked_by(sightings: Iterable[Sighting], account: str, moment: int) -> list[Sighting]:
    """Return the links of other programs that were seen at an account when last one was, by ``moment``."""
    links = sorted(each for each in sightings if each.account == account and each.is_anothers and each.time <= moment)
    return [each for each in links if each.time == links[-1].time]


def _each_lease(seen: Iterable[Sighting], history: list[Sighting], because: str) -> list[Candidate]:
    first = {each.lease: each for each in reversed(list(seen))}
    return [_candidate(each, history, because) for each in sorted(first.values())]


def _candidate(sighting: Sighting, history: list[Sighting], because: str) -> Candidate:
    same = [each for each in history if each.lease == sighting.lease]
    named = next((each for each in same if each.subject), sighting)
    since = min((each.time for each in same if each.begins), default=None)
    fqan = next((each.fqan for each in same if each.fqan), "")
    lease = "" if sighting.is_anothers else sighting.lease
    return Candidate(lease, named.scheme, named.subject, named.vo, since, because, fqan)
