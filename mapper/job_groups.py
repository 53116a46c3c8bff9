"""The groups that a rule of the policy gives a job, in place of its account's own."""

from __future__ import annotations

import grp
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused

if TYPE_CHECKING:
    from gridwarden.mapper.lease import Lease
    from gridwarden.mapper.naming import Groups
    from gridwarden.mapper.policy import Decision


class JobGroups(NamedTuple):
    """The gid of the primary group, or None for the account's own, and those of the secondary groups."""

    primary: int | None
    secondary: tuple[int, ...]


def of(decision: Decision, groups: Groups = grp) -> JobGroups:
    """The groups of a decision on this machine; raises ConfigurationError and Refused (account-privileged)."""
    primary = gid_of(decision.primary_group, decision.rule, groups) if decision.primary_group else None
    return JobGroups(primary, tuple(gid_of(name, decision.rule, groups) for name in decision.secondary_groups))


def gid_of(name: str, rule: int, groups: Groups) -> int:
    """The gid of one group."""
    try:
        gid = groups.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(f"rule {rule}: there is no group {name!r} on this machine", "create it") from None
    if gid == 0:
        raise Refused(reasons.ACCOUNT_PRIVILEGED, f"rule {rule} gives the group {name!r}, which is root's")
    return gid


def given(lease: Lease, groups: JobGroups) -> Lease:
    """The lease with the groups that its jobs have; the account's holder file keeps the account's own."""
    gid = lease.gid if groups.primary is None else groups.primary
    return lease._replace(gid=gid, groups=groups.secondary)
