"""The groups that a rule of the policy gives a job, in place of its account's own."""

from __future__ import annotations

import grp

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.pools import FIRST_ORDINARY_UID
from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Collection

    from gridwarden.mapper.lease import Lease
    from gridwarden.mapper.naming import Groups
    from gridwarden.mapper.policy import Decision


class JobGroups(NamedTuple):
    """The gid of the primary group, or None for the account's own, and those of the secondary groups."""

    primary: int | None
    secondary: tuple[int, ...]


def of(decision: Decision, allowed: Collection[str] = (), groups: Groups = grp) -> JobGroups:
    """The groups of a decision on this machine; of the system's groups only those ``allowed``.

    Raises ConfigurationError and Refused (account-privileged).
    """
    names = [*filter(None, [decision.primary_group]), *decision.secondary_groups]
    try:
        gids = [gid_of(name, allowed, groups) for name in names]
    except ConfigurationError as error:
        raise ConfigurationError(f"rule {decision.rule}: {error}", error.hint) from None
    except Refused as error:
        raise Refused(error.reason, f"rule {decision.rule}: {error.detail}", error.hint) from None
    return JobGroups(gids[0], tuple(gids[1:])) if decision.primary_group else JobGroups(None, tuple(gids))


def gid_of(name: str, allowed: Collection[str], groups: Groups = grp) -> int:
    """The gid of a group that jobs may have: whoever is in disk or shadow is as good as root."""
    try:
        gid = groups.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(f"there is no group {name!r} on this machine", "create it") from None
    if gid == 0 or (gid < FIRST_ORDINARY_UID and name not in allowed):
        raise Refused(
            reasons.ACCOUNT_PRIVILEGED,
            f"the group {name!r} has gid {gid}: it is the system's",
            "" if gid == 0 else "leases.system_groups names those that jobs may have all the same",
        )
    return gid


def given(lease: Lease, groups: JobGroups) -> Lease:
    """The lease with the groups that its jobs have; the account's holder file keeps the account's own."""
    gid = lease.gid if groups.primary is None else groups.primary
    return lease._replace(gid=gid, groups=groups.secondary)
