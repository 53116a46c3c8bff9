"""Who may run payloads, and how, as plain values; their meaning is declared in gridwarden/pilot_settings.py.

They are kept with the mapper's, since the launcher that needs them has only as long as one copy takes to read.
"""

from __future__ import annotations

from gridwarden.mapper.rules import Rule
from gridwarden.values import NamedTuple, plain

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from gridwarden.pilot_settings import Pilot

OWN = ("dn", "fqan", "vo", "issuer", "subject", "group", "scope", "audience", "limited")


class Caller(NamedTuple):
    """Who may start payloads: one of ``account``, ``unix_group`` and ``pool``; ``rule`` is for its own credential."""

    account: str | None = None
    unix_group: str | None = None
    pool: str | None = None
    service: bool = False
    payloads: int = 64
    rule: Rule = Rule()


class PilotValues(NamedTuple):
    """The section ``pilot``; ``tracking_groups`` are the first and the last gid, 0 and -1 where there are none."""

    callers: tuple[Caller, ...] = ()
    mode: str = "switch"
    outside_jobs: str = "allow"
    accounts: tuple[str, ...] = ()
    minimum_uid: int = 1000
    minimum_gid: int = 1000
    programs: tuple[str, ...] = ()
    program_owners: tuple[str, ...] = ()
    pam_service: str = "gridwarden-exec"
    environment_file: str | None = None
    preserve: tuple[str, ...] = ()
    tracking_groups: tuple[int, int] = (0, -1)
    scratch: str = "keep"
    epilogue: str | None = None
    epilogue_seconds: float = 300
    no_new_privileges: bool = True
    capabilities: str = "none"
    grace_seconds: float = 5
    control_group: str = "auto"


def from_pilot(pilot: Pilot) -> PilotValues:
    """The section as values."""
    values = dict(pilot)
    values["callers"] = tuple(
        Caller(
            caller.account,
            caller.unix_group,
            caller.pool,
            caller.service,
            caller.payloads,
            Rule(**{key: getattr(caller, key) for key in OWN}),
        )
        for caller in pilot.callers
    )
    first, _, last = (pilot.tracking_groups or "0--1").partition("-")
    values["tracking_groups"] = (int(first), int(last))
    return PilotValues(**plain(values))
