"""Who held an account at a moment, from the records that name the two together.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden.accounting.job_runs import Body, number, text

if TYPE_CHECKING:
    from collections.abc import Iterable

# Kinds of record that name an account together with the lease under which it was lent.  A release is none of
# those that end it: what runs until the account is freed is still its holder's.
KINDS = ("lease", "observation", "job_start", "payload_start", "kill", "freed")
LOCAL = "local"


class Sighting(NamedTuple):
    """A record that says that ``account`` was lent under ``lease`` at ``time`` (microseconds).

    ``begins`` is set for the record of the lending itself, ``ends`` for that of the account's becoming free;
    others only confirm it.  The subject is empty where the record does not name one.
    """

    time: int
    account: str
    lease: str
    scheme: str
    subject: str
    vo: str
    begins: bool
    ends: bool = False


class Candidate(NamedTuple):
    """One who may have held the account, from ``since`` on as far as records show (None: not recorded)."""

    lease: str
    scheme: str
    subject: str
    vo: str
    since: int | None
    because: str


def sighting(body: Body) -> Sighting:
    """Read a record of one of ``KINDS``.

    A lease record without a lease name is a mapping to a fixed account, which several people share: it says
    who could be behind the account, not who is, so the account itself stands for them.
    """
    lending = body.get("kind") == "lease"
    shared = lending and not body.get("name")
    account = text(body, "account")
    return Sighting(
        time=number(body, "time"),
        account=account,
        lease=text(body, "lease"),
        scheme=LOCAL if shared else text(body, "scheme"),
        subject=account if shared else text(body, "subject"),
        vo=text(body, "vo"),
        begins=lending,
        ends=body.get("kind") == "freed",
    )


def holders_within(sightings: Iterable[Sighting], account: str, since: int, until: int) -> list[Candidate]:
    """Return who may have held ``account`` at any time from ``since`` to before ``until``, each lease once."""
    known = list(sightings)
    moments = [since, *(each.time for each in known if each.account == account and since < each.time < until)]
    found = [candidate for moment in moments for candidate in holders_at(known, account, moment)]
    return list({candidate.lease: candidate for candidate in found}.values())


def holders_at(sightings: Iterable[Sighting], account: str, moment: int) -> list[Candidate]:
    """Return who may have held ``account`` at ``moment``: one when the records agree, none when they are silent.

    The account changes hands at a lending, so the last sighting before the moment stands until then, or until
    the account was freed (unless its lease is seen again: it could not be freed after all).  When
    the next sighting is of another lease and is no lending, the change was not recorded: both are candidates.
    """
    of_account = sorted(each for each in sightings if each.account == account and each.lease)
    before = [each for each in of_account if each.time <= moment]
    after = [each for each in of_account if each.time > moment]
    last = before[-1] if before else None
    following = after[0] if after else None
    if last is None or (last.ends and not (following and following.lease == last.lease)):
        if following is None or following.begins:
            return []
        return [_candidate(following, of_account, "held it at its next sighting; earlier records are missing")]
    if following is None or following.begins or following.lease == last.lease:
        return [_candidate(last, of_account, "held the account then, by the records of its lending")]
    because = "the account changed hands around then and no record says when"
    return [_candidate(each, of_account, because) for each in (last, following)]


def _candidate(sighting: Sighting, of_account: list[Sighting], because: str) -> Candidate:
    same = [each for each in of_account if each.lease == sighting.lease]
    named = next((each for each in same if each.subject), sighting)
    since = min((each.time for each in same if each.begins), default=None)
    return Candidate(sighting.lease, named.scheme, named.subject, named.vo, since, because)
