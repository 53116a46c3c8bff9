"""From a credential to an account: verify, look at the bans, ask the policy, lease; and say what was decided.

Every outcome is one syslog line, and a refusal is a record of the ledger too.
"""

from __future__ import annotations

import pwd

from gridwarden import ledger, syslog_line
from gridwarden.contexts import contextmanager
from gridwarden.errors import GridwardenError, Refused
from gridwarden.mapper import bans, job_groups, lease, policy, surroundings
from gridwarden.mapper.globus_values import NOTHING
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.globus_values import Brought
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.lease import Lease
    from gridwarden.mapper.policy import Decision
    from gridwarden.mapper.site import SiteValues


LONGEST_DETAIL = 4096  # of a refusal: a path too long for a record would keep what was refused out of the ledger


class Presented(NamedTuple):
    """What somebody shows: files, each to be verified, and identities that a trusted caller has verified already.

    Their order is that of the fields: an account of a pool goes to the first of them that the policy asked for.
    ``globus`` are one person's linked identities of Globus, of which the policy sees those that count.
    """

    proxy: str | os.PathLike[str] | None = None
    token: str | os.PathLike[str] | None = None
    identities: tuple[Identity, ...] = ()
    globus: Brought = NOTHING


class Wanted(NamedTuple):
    """How an account is asked for: on behalf of which command, and for which job slot."""

    command: str = "map"
    slot: int = 0


MAP = Wanted()


def silent(_: str) -> None:
    """Say nothing."""


def map_credentials(
    presented: Presented,
    site: SiteValues,
    wanted: Wanted = MAP,
    say: Callable[[str], None] = silent,
    explain: list[str] | None = None,
) -> Lease:
    """The account that whoever presents these credentials may use now.

    ``say`` is given a sentence for each step, ``explain`` collects one for each rule.  Raises Refused with the reason,
    and ConfigurationError, EvidenceError or Unavailable where nothing could be decided; nobody is given anything then.
    """
    identities: tuple[Identity, ...] = presented.identities
    try:
        identities = verified(presented, site, say)
        found = map_identities(identities, site, say, slot=wanted.slot, explain=explain, brought=presented.globus)
    except GridwardenError as error:
        note_failure(error, identities[0] if identities else None, site, wanted.command)
        raise
    leased = (found.scheme, found.subject)
    identity = next(one for one in identities if (one.scheme, one.subject) == leased)
    outcome = "leased" if found.created else "adopted" if found.adopted else "followed" if found.name else "mapped"
    syslog_line.decision(
        "map",
        outcome,
        account=found.account,
        lease=found.lease_id,
        scheme=identity.scheme,
        subject=identity.subject,
        fqans=" ".join(identity.fqans),
        credential=identity.credential,
        command=wanted.command,
        seq=found.record and found.record[0],
        head=found.record and found.record[1],
    )
    return found


def map_identity(
    identity: Identity, site: SiteValues, say: Callable[[str], None], users: Users = pwd, slot: int = 0
) -> Lease:
    """``map_identities`` for somebody who shows one credential."""
    return map_identities((identity,), site, say, users, slot)


def map_identities(
    identities: Sequence[Identity],
    site: SiteValues,
    say: Callable[[str], None],
    users: Users = pwd,
    slot: int = 0,
    explain: list[str] | None = None,
    brought: Brought = NOTHING,
) -> Lease:
    """The account for verified identities: bans, then policy, then lease; raises as ``map_credentials``."""
    decision = allowed(identities, site, say, explain, brought)
    groups = job_groups.of(decision, site.leases.system_groups)
    shown = everyone(identities, brought)
    if decision.kind == "account":
        from gridwarden.mapper import fixed  # noqa: PLC0415 - most have an account of a pool

        found = fixed.fixed_account(decision.identity, decision.target, site, users, shown)
    else:
        found = lease.lease_from_pool(decision.identity, decision.target, site, say, users, slot, shown)
    return job_groups.given(found, groups)


def verified(presented: Presented, site: SiteValues, say: Callable[[str], None]) -> tuple[Identity, ...]:
    """Whose the credentials are, read as the person who ran sudo if that is how we became root; raises Refused."""
    from gridwarden.mapper.credential_file import caller_uid  # noqa: PLC0415 - as below
    from gridwarden.mapper.token import verify_token  # noqa: PLC0415 - as below
    from gridwarden.mapper.verify import verify_proxy  # noqa: PLC0415 - loads what only this needs

    found: list[Identity] = []
    if presented.proxy is not None:
        found.append(
            verify_proxy(
                presented.proxy,
                certificates=site.certificates,
                vomsdir=site.vomsdir,
                limited_allowed=site.limited_proxies or any(rule.limited for rule in site.rules),
                seconds=site.verify_seconds,
                caller_uid=caller_uid(),
                accepted=site.accepted,
            )
        )
        say(f"{presented.proxy} is a credential of {found[-1].subject} with {policy.attributes(found[-1])}")
        if generic := found[-1].attributes:
            say(f"its generic attributes are {'; '.join(generic)}")
    if presented.token is not None:
        found.append(verify_token(presented.token, site, caller_uid()))
        say(f"{presented.token} is a token of {found[-1].subject} with {policy.attributes(found[-1])}")
    found += presented.identities
    found += [person.identity for person in presented.globus.people if person.counts]
    return tuple(found)


def everyone(identities: Sequence[Identity], brought: Brought) -> list[Identity]:
    """Whom a ban may name: every identity that is presented, and those of Globus that do not count, too."""
    return [*identities, *(person.identity for person in brought.people if person.identity not in identities)]


def allowed(
    identities: Sequence[Identity],
    site: SiteValues,
    say: Callable[[str], None],
    explain: list[str] | None = None,
    brought: Brought = NOTHING,
) -> Decision:
    """What the policy decides for somebody none of whose identities is banned, counting or not; raises Refused."""
    lease.refuse_banned(everyone(identities, brought), bans.in_force(site))
    say(f"no line of {', '.join(map(str, (*site.bans, *site.ban_lists))) or 'a ban file'} bans them")
    decision = policy.decide(identities, site.rules, surroundings.of(site, brought), explain)
    if explain is None:  # else each rule has said it
        say(f"rule {decision.rule} of the policy says {decision.kind} {decision.target}")
    return decision


@contextmanager
def noted(site: SiteValues, command: str) -> Iterator[None]:
    """Record a refusal of what is brought to be mapped, before anybody knows who it is."""
    try:
        yield
    except Refused as refusal:
        note_failure(refusal, None, site, command)
        raise


def note_failure(error: GridwardenError, identity: Identity | None, site: SiteValues, command: str) -> None:
    """Record a refusal, and tell syslog of it or of the failure; an error of the ledger is told to syslog too."""
    who = {"scheme": identity.scheme, "subject": identity.subject, "vo": identity.vo} if identity else {}
    if not isinstance(error, Refused):
        syslog_line.decision("map", "failed", detail=str(error), command=command, **who)
        return
    fields: dict[str, str | int | None] = {
        "reason": error.reason,
        "detail": error.detail[:LONGEST_DETAIL],
        "scheme": None,
        "subject": None,
        "vo": None,
        **who,
        "account": None,
        "command": command,
    }
    seq = head = None
    try:
        seq, head = ledger.append(site.ledger, "refused", fields, node=site.node, cluster=site.cluster)
    except GridwardenError as fault:
        syslog_line.decision("map", "failed", detail=f"the refusal has no record: {fault}", command=command)
    syslog_line.decision("map", "refused", **fields, seq=seq, head=head)
