"""From a credential to an account: verify, look at the bans, ask the policy, lease; and say what was decided.

Every outcome is one syslog line, and a refusal is a record of the ledger too.
"""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

from gridwarden import ledger, syslog_line
from gridwarden.errors import GridwardenError, Refused
from gridwarden.mapper import accounts, bans, lease, lending, linking, names, naming, policy, publishing
from gridwarden.mapper.gridmapdir import Gridmapdir

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.lease import Lease
    from gridwarden.mapper.site import SiteValues


def map_proxy(
    path: str | os.PathLike[str],
    site: SiteValues,
    *,
    command: str = "map",
    slot: int = 0,
    explain: list[str] | None = None,
) -> Lease:
    """The account that whose proxy is in the file ``path`` may use now, in the job ``slot``.

    ``explain`` collects a sentence for each step.  Raises Refused with the reason, and ConfigurationError,
    EvidenceError or Unavailable where nothing could be decided; nobody is given anything then.
    """
    say = explain.append if explain is not None else silent
    identity: Identity | None = None
    try:
        identity = verified(path, site, say)
        found = map_identity(identity, site, say, slot=slot)
    except GridwardenError as error:
        note_failure(error, identity, site, command)
        raise
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
        command=command,
        seq=found.record and found.record[0],
        head=found.record and found.record[1],
    )
    return found


def map_identity(
    identity: Identity, site: SiteValues, say: Callable[[str], None], users: Users = pwd, slot: int = 0
) -> Lease:
    """The account for a verified identity: bans, then policy, then lease; raises as ``map_proxy``."""
    decision = allowed(identity, site, say)
    if decision.kind == "account":
        return lease.fixed_account(identity, decision.target, site, users)
    return lease.lease_from_pool(identity, decision.target, site, say, users, slot)


def foresee(
    path: str | os.PathLike[str], site: SiteValues, say: Callable[[str], None], slot: int = 0
) -> tuple[str, str]:
    """The account that ``map_proxy`` would give (empty while that is open), and to whom; reads only.

    Raises as ``map_proxy`` would, where that can be foreseen.
    """
    identity = verified(path, site, say)
    return foresee_identity(identity, site, say, slot=slot), identity.subject


def foresee_identity(
    identity: Identity, site: SiteValues, say: Callable[[str], None], users: Users = pwd, slot: int = 0
) -> str:
    """The account that ``identity`` would have, or nothing while that is not decided; reads only."""
    publishing.refuse_unready(site)
    decision = allowed(identity, site, say)
    if decision.kind == "account":
        return accounts.usable(decision.target, users).name
    name = naming.name_of(identity, site.leases, slot)
    with Gridmapdir(site.gridmapdir) as directory:
        known = names.read_lease(directory, name)
        names.refuse_other(directory, name, identity, known)
        if link := linking.find(directory, name):
            say(f"{link.account} is held under the lease name {name}")
            account = lease.checked(link.account, decision.target, identity, users)
            lease.lease_file(known, link, name, identity, site)  # which may refuse it
            return account.name
        survey = accounts.survey(directory.entries(), decision.target)
        banned = bans.banned_accounts(site)
        unusable = {
            account: why
            for account in survey.free
            if (why := lending.why_not(account, site, users, banned) or linking.why_not_free(directory, account))
        }
        numbers = linking.numbers(decision.target, survey, unusable)
    if len(unusable) == len(survey.free):
        raise linking.full(numbers)
    say(f"nothing is held under the lease name {name}; {numbers}, one of the others would be lent")
    return ""


def verified(path: str | os.PathLike[str], site: SiteValues, say: Callable[[str], None]) -> Identity:
    """Whose the proxy is, read as the person who ran sudo if that is how we became root; raises Refused."""
    from gridwarden.mapper.credential_file import caller_uid  # noqa: PLC0415 - as verify
    from gridwarden.mapper.verify import verify_proxy  # noqa: PLC0415 - loads libcrypto

    identity = verify_proxy(
        path,
        certificates=site.certificates,
        vomsdir=site.vomsdir,
        limited_allowed=site.limited_proxies,
        seconds=site.verify_seconds,
        caller_uid=caller_uid(),
    )
    say(f"{path} is a credential of {identity.subject} with {' '.join(identity.fqans) or 'no FQAN'}")
    return identity


def allowed(identity: Identity, site: SiteValues, say: Callable[[str], None]) -> policy.Decision:
    """What the policy decides for somebody who is not banned; raises Refused."""
    lease.refuse_banned(identity, bans.in_force(site))
    say(f"no line of {', '.join(map(str, (*site.bans, *site.ban_lists))) or 'a ban file'} bans them")
    decision = policy.decide(identity, site.rules)
    say(f"rule {decision.rule} of the policy says {decision.kind} {decision.target}")
    return decision


def note_failure(error: GridwardenError, identity: Identity | None, site: SiteValues, command: str) -> None:
    """Record a refusal, and tell syslog of it or of the failure; an error of the ledger is told to syslog too."""
    who = {"scheme": identity.scheme, "subject": identity.subject, "vo": identity.vo} if identity else {}
    if not isinstance(error, Refused):
        syslog_line.decision("map", "failed", detail=str(error), command=command, **who)
        return
    fields: dict[str, str | int | None] = {
        "reason": error.reason,
        "detail": error.detail,
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


def silent(_: str) -> None:
    """Say nothing."""
