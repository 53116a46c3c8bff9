"""Who calls the launcher, and whether the site lets them start payloads."""

from __future__ import annotations

import os
import pwd
import time

from gridwarden import pools, proc, reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper.credential_file import caller_uid

TYPE_CHECKING = False  # typing's own costs a launch 3 ms, before its verifiers can begin to load
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.pilot_values import Caller

LONGEST_ENVIRONMENT = 8 * 1024 * 1024  # more than execve(2) takes


class Pilot:
    """Who calls: a local account and its groups now, those by which a batch system tracks its jobs among them."""

    __slots__ = ("account", "gid", "groups", "uid", "variables")

    def __init__(
        self, account: str, uid: int, gid: int, groups: Sequence[int], variables: Mapping[bytes, bytes]
    ) -> None:
        self.account = account
        self.uid = uid
        self.gid = gid
        self.groups = tuple(groups)
        self.variables = variables


def pilot() -> Pilot:
    """Who had sudo start this process, with the environment that sudo was started with.

    The kernel shows sudo's own environment (proc_pid_environ(5)), which nobody but root can change, so the rule need not
    let any variable through to us.  Raises Refused (caller-not-listed), ConfigurationError, OSError.
    """
    uid = caller_uid() if os.geteuid() == 0 else os.geteuid()
    if not uid:
        raise Refused(reasons.CALLER_NOT_LISTED, "nobody called by sudo: root itself starts no payloads")
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise Refused(reasons.CALLER_NOT_LISTED, f"uid {uid} has no passwd entry") from None
    if os.geteuid() != 0:
        return Pilot(user.pw_name, uid, os.getgid(), os.getgroups(), variables(_read("self/environ")))
    sudo = proc.read(os.getppid())
    if sudo is None or (sudo.real_uid, sudo.effective_uid) != (uid, 0):
        raise ConfigurationError(
            f"the process above the launcher is not the sudo of {user.pw_name}",
            "sudo leaves no process of its own with !use_pty, !pam_session and !pam_setcred; gridwarden doctor exec",
        )
    gid = int(os.environ["SUDO_GID"])
    groups = os.getgroups()  # the caller's, by preserve_groups of the sudo rule; root's without
    if 0 in groups:
        groups = os.getgrouplist(user.pw_name, gid)
    return Pilot(user.pw_name, uid, gid, groups, variables(_read(f"{sudo.pid}/environ")))


def variables(environment: bytes) -> dict[bytes, bytes]:
    """The variables of an environment as the kernel shows it; of two of one name the first counts, as for getenv(3)."""
    found: dict[bytes, bytes] = {}
    for variable in environment.split(b"\0"):
        name, equals, value = variable.partition(b"=")
        if equals:
            found.setdefault(name, value)
    return found


def listed(who: Pilot, callers: Sequence[Caller]) -> list[Caller]:
    """The entries of site.yaml that are about this account; raises Refused (caller-not-listed)."""
    groups = _group_names(who) if any(caller.unix_group for caller in callers) else frozenset()
    found = [
        caller
        for caller in callers
        if caller.account == who.account
        or (caller.unix_group is not None and caller.unix_group in groups)
        or (caller.pool is not None and pools.is_of_pool(who.account, caller.pool))
    ]
    if not found:
        raise Refused(
            reasons.CALLER_NOT_LISTED,
            f"{who.account} (uid {who.uid}) is none of pilot.callers",
            "pilot.callers in site.yaml says who may start payloads",
        )
    return found


def permitted(found: Sequence[Caller], who: Pilot, shown: tuple[Identity, ...]) -> tuple[Caller, Identity | None]:
    """The first entry whose conditions the caller's own credentials meet, and the identity that met them.

    A service needs none.  Raises Refused (pilot-credential-missing, pilot-credential-not-allowed).
    """
    from gridwarden.mapper import rules  # noqa: PLC0415 - loaded while the verifiers work

    presented = rules.Presented(shown, int(time.time()))
    for caller in found:
        if caller.service:
            return caller, shown[0] if shown else None
        if met := rules.who_meets(caller.rule, presented):
            return caller, met[0]
    if not shown:
        raise Refused(
            reasons.PILOT_CREDENTIAL_MISSING,
            f"{who.account} shows no credential of its own",
            "X509_USER_PROXY, --pilot-proxy or --pilot-token names it",
        )
    why = "; ".join(filter(None, (rules.why_not(caller.rule, presented) for caller in found)))
    raise Refused(reasons.PILOT_CREDENTIAL_NOT_ALLOWED, f"{who.account} as {shown[0].subject}: {why}")


def _group_names(who: Pilot) -> frozenset[str]:
    import grp  # noqa: PLC0415 - only where the site names groups

    names = set()
    for gid in os.getgrouplist(who.account, who.gid):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return frozenset(names)


def _read(name: str) -> bytes:
    with open(f"/proc/{name}", "rb") as file:
        return file.read(LONGEST_ENVIRONMENT)
