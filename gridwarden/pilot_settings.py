"""The declaration of the section ``pilot``: who may run a payload as its owner, and how the payload runs."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gridwarden.patterns import check_pattern
from gridwarden.policy_settings import DeclaredPool, Pattern, Patterns
from gridwarden.pools import FIRST_ORDINARY_UID
from gridwarden.setting_types import AbsolutePath, Account, FaultsError, Seconds, Section, Text
from gridwarden.variables import is_name, is_obeyed

Mode = Literal["switch", "log-only"]
OutsideJobs = Literal["allow", "refuse"]
Scratch = Literal["keep", "hand-over"]
Capabilities = Literal["none", "pam"]
ControlGroup = Literal["auto", "off"]
OF_THE_CREDENTIAL = ("dn", "fqan", "vo", "issuer", "subject", "group", "scope", "audience")
SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
GIDS = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")


def program_pattern(text: str) -> str:
    """Return a pattern of absolute paths."""
    if not text.startswith("/"):
        raise ValueError("must begin with /: programs are compared by their absolute path, links resolved")
    return check_pattern(text)


def variable(name: str) -> str:
    """Return the name of a variable that may pass from a pilot to its payload."""
    data = os.fsencode(name)
    if not is_name(data):
        raise ValueError("is not the name of a variable")
    if is_obeyed(data):
        raise ValueError(
            "is obeyed by linkers, interpreters or shells: the pilot could run its own code as somebody else"
        )
    return name


def service_name(name: str) -> str:
    """Return the name of a file in /etc/pam.d."""
    if not SERVICE.fullmatch(name) or name == "other":
        raise ValueError("is not the name of a PAM service; write that of a file in /etc/pam.d, other is never used")
    return name


def gid_range(text: str) -> str:
    """Return ``FIRST-LAST``, gids that the system's own groups have not."""
    found = GIDS.fullmatch(text)
    if not found or int(found[2]) < int(found[1]):
        raise ValueError("is not a range of gids; write 65000-65049")
    if int(found[1]) < FIRST_ORDINARY_UID:
        raise ValueError(f"begins below {FIRST_ORDINARY_UID}, among the system's own groups")
    return text


class Caller(Section):
    """Who may start payloads: a local account, and what its own credential must say."""

    account: Account | None = Field(None, description="Account that calls.", examples=["pilotcms"])
    unix_group: Account | None = Field(
        None, description="Group whose members may call, by their primary group or as members.", examples=["pilots"]
    )
    pool: DeclaredPool | None = Field(None, description="Pool whose accounts may call.", examples=["cmspilot"])
    service: bool = Field(
        default=False,
        description="Whether it is a service of the site, which need not show a credential of its own.",
    )
    dn: Pattern | None = Field(None, description="As in `policy`, of the caller's own proxy.", examples=["/DC=org/*"])
    fqan: Patterns = Field((), description="As in `policy`.", examples=["/cms/Role=pilot"])
    vo: Pattern | None = Field(None, description="As in `policy`.", examples=["cms"])
    issuer: Pattern | None = Field(
        None, description="As in `policy`, of the caller's own token.", examples=["https://wlcg.example.org/"]
    )
    subject: Pattern | None = Field(None, description="As in `policy`.", examples=["pilot"])
    group: Patterns = Field((), description="As in `policy`.", examples=["/cms/pilots"])
    scope: Patterns = Field((), description="As in `policy`.", examples=["compute.create"])
    audience: Pattern | None = Field(None, description="As in `policy`.", examples=["https://ce.example.org"])
    limited: bool = Field(default=False, description="Whether a limited proxy of the caller counts, too.")
    payloads: int = Field(
        64,
        strict=True,
        ge=1,
        le=100000,
        description="How many payloads of one identity may run at once on this machine when this caller starts another.",
    )

    @model_validator(mode="after")
    def one_reading(self) -> Self:
        """Refuse a caller that is nobody, or one of whom nothing but the account is asked by oversight."""
        faults: list[tuple[tuple[str | int, ...], str]] = []
        given = [key for key in ("account", "unix_group", "pool") if getattr(self, key) is not None]
        if len(given) != 1:
            faults.append(
                ((), f"needs exactly one of account, unix_group, pool; it has {' and '.join(given) or 'none'}")
            )
        asked = [key for key in OF_THE_CREDENTIAL if getattr(self, key)]
        if self.service and asked:
            faults.append(((asked[0],), "a service shows no credential of its own: leave service out, or this"))
        if not self.service and not asked:
            faults.append(((), "needs what its own credential must say (fqan, issuer and group …), or service: true"))
        if self.subject and not self.issuer:
            faults.append((("subject",), "the sub of a token means nobody without its issuer: add issuer"))
        if faults:
            raise FaultsError(faults)
        return self


class Pilot(Section):
    """Who may run payloads as their owners by `gridwarden-exec`, and how those run: docs/launcher.md."""

    callers: tuple[Caller, ...] = Field(
        (),
        description="Pilots and services that may start payloads; the first that matches decides. Nobody else may.",
        examples=[[{"account": "pilotcms", "fqan": "/cms/Role=pilot"}]],
    )
    mode: Mode = Field(
        "switch",
        description="`switch`: the payload runs as its owner's account. `log-only`: it is verified, mapped and recorded, "
        "and runs as the pilot; nobody is kept apart then.",
    )
    outside_jobs: OutsideJobs = Field(
        "allow",
        description="What becomes of a caller that is in no batch job: `allow`, or `refuse` unless it is a service. A pilot "
        "that has left its job may run a payload without end, unless the batch system tracks by control group.",
    )
    accounts: tuple[Account, ...] = Field(
        (),
        description="Accounts outside the pools that payloads may run as, where a rule of `policy` says so.",
        examples=[["cmsprod"]],
    )
    minimum_uid: int = Field(
        FIRST_ORDINARY_UID, strict=True, ge=FIRST_ORDINARY_UID, description="Lowest uid that a payload may have."
    )
    minimum_gid: int = Field(
        FIRST_ORDINARY_UID,
        strict=True,
        ge=1,
        description="Lowest gid that a payload may have, as its primary group or another.",
    )
    programs: tuple[Annotated[Text, AfterValidator(program_pattern)], ...] = Field(
        (),
        description="Patterns of the programs that may be run, by their real path. Empty: any that nobody but the "
        "pilot, the payload's owner or root could have written.",
        examples=[["/cvmfs/*", "/usr/bin/*"]],
    )
    program_owners: tuple[Account, ...] = Field(
        (),
        description="Accounts that may own a program besides the pilot, the payload's owner and root.",
        examples=[["cvmfs"]],
    )
    pam_service: Annotated[str, AfterValidator(service_name)] = Field(
        "gridwarden-exec", description="File of /etc/pam.d that says which accounts may run, and their session."
    )
    environment_file: AbsolutePath | None = Field(
        None,
        description="File of NAME=VALUE lines that every payload gets.",
        examples=["/etc/gridwarden/payload-environment"],
    )
    preserve: tuple[Annotated[str, AfterValidator(variable)], ...] = Field(
        (),
        description="Variables that the payload gets from the pilot. TZ always.",
        examples=[["LANG", "OMP_NUM_THREADS"]],
    )
    tracking_groups: Annotated[str, AfterValidator(gid_range)] | None = Field(
        None,
        description="Gids by which a batch system tracks its jobs; those that the pilot has the payload keeps.",
        examples=["65000-65049"],
    )
    scratch: Scratch = Field(
        "keep",
        description="What becomes of the pilot's working directory: `keep` its owner, so that the payload must be able "
        "to use it as it is; or `hand-over` to the payload's account and back afterwards.",
    )
    epilogue: AbsolutePath | None = Field(
        None,
        description="Program that is run as root after each payload.",
        examples=["/usr/libexec/site-payload-epilogue"],
    )
    epilogue_seconds: Seconds = Field(300, gt=0, le=3600, description="How long the epilogue may take.")
    no_new_privileges: bool = Field(
        default=True,
        description="Whether setuid programs are without effect for the payload; false only where it needs one.",
    )
    capabilities: Capabilities = Field(
        "none", description="Capabilities of the payload: `none`, or those that the PAM session grants (pam_cap)."
    )
    grace_seconds: Seconds = Field(
        5, le=60, description="How long a payload has between TERM and KILL when its pilot, or sudo, is gone."
    )
    control_group: ControlGroup = Field(
        "auto",
        description="`auto`: each payload has a control group of its own below its caller's, where one can be made; "
        "without one its processes are found by their descent.",
    )

    @model_validator(mode="after")
    def jobs_can_be_seen(self) -> Self:
        """Refuse to ask for jobs where nothing is root, which alone sees whose processes start them."""
        if self.mode == "log-only" and self.outside_jobs == "refuse":
            raise FaultsError(
                [(("outside_jobs",), "cannot be had in log-only mode, which does not see jobs: leave it out")]
            )
        return self
