"""The kinds of value that a site's configuration holds, each refusing what could mean two things."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gridwarden.pools import FIRST_ORDINARY_UID, is_account_name

# Argus takes every digit at the end of an account's name for its number, so a prefix has none there.
POOL = re.compile(r"[A-Za-z]([A-Za-z0-9._-]{0,25}[A-Za-z._-])?")
# Parameters of libpq (PostgreSQL 18's manual, 32.1.2) that are secrets, not the names of files that hold them.
SECRET = re.compile(r"[?&](?:(?:ssl)?password|oauth_client_secret|scram_(?:client|server)_key)=", re.IGNORECASE)
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
OnPrologFailure = Literal["record-gap", "cancel", "requeue-held", "drain"]
OnEpilogFailure = Literal["record-gap", "drain"]  # the job is over: there is nothing to cancel or requeue


class Section(BaseModel):
    """What all sections share: no unknown key, no change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FaultsError(ValueError):
    """Faults in parts of one value: (path below the value, what is wrong) for each."""

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(what for _, what in faults))
        self.faults = faults


def printable(text: str) -> str:
    """Return ``text``, which the node file must be able to hold on one line."""
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def absolute(path: Path) -> Path:
    """Return ``path``, which must mean the same whoever reads it and from wherever."""
    printable(str(path))
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("must be an absolute path without '..'")
    return path


def spool_path(path: str) -> str:
    """Return a path with no pattern but those that slurm.conf(5) has for SlurmdSpoolDir, each once."""
    absolute(Path(path))
    if "%" in path.replace("%n", "", 1).replace("%h", "", 1):
        raise ValueError("may hold no pattern but %n, the node's name, and %h, its host's, each once")
    return path


def account_name(name: str) -> str:
    """Return ``name``, which must be that of an account that jobs may have."""
    if not is_account_name(name) or name == "root":
        raise ValueError("is not the name of an account that may run jobs")
    return name


def pool_prefix(name: str) -> str:
    """Return ``name``, which must be what account names can begin with."""
    if not POOL.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a pool: a letter first, no digit last")
    return name


def node_name(name: str) -> str:
    """Return ``name``, which must be able to name a file, too."""
    if not NODE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a node")
    return name


def uid_range(text: str) -> str:
    """Return ``FIRST-LAST`` or ``UID``, none of which may be a system user's."""
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first]
    if not all(number.isascii() and number.isdigit() and len(number) < 11 for number in numbers):
        raise ValueError("is not a range of uids; write 20000-29999")
    if int(first) < FIRST_ORDINARY_UID:
        raise ValueError(f"begins below {FIRST_ORDINARY_UID}, among the system's own users")
    if int(numbers[-1]) < int(first):
        raise ValueError("ends before it begins")
    return text


def cgroup_path(path: str) -> str:
    """Return the path of a control group below the root of its hierarchy."""
    printable(path)
    if not path.startswith("/") or not path.strip("/") or ".." in path.split("/"):
        raise ValueError("must be a path like /system.slice/NAME.service; the root is everybody's")
    return path.rstrip("/")


def store_url(url: str) -> str:
    """Return ``url``, a database that every command finds from wherever it is started."""
    printable(url)
    if not re.match(r"sqlite:////|postgresql(\+[a-z0-9]+)?://", url):
        raise ValueError("must be sqlite:////ABSOLUTE/PATH or postgresql://…")
    if re.match(r"[^/]+//[^/@]*:[^/]*@", url) or SECRET.search(unquote(url)):
        raise ValueError(
            "must not hold a password, which whoever reads it would know: add ?passfile=/PATH of a .pgpass"
        )
    return url


Seconds = Annotated[float, Field(strict=True, ge=0, json_schema_extra={"unit": "seconds"})]
Hours = Annotated[float, Field(strict=True, ge=0, json_schema_extra={"unit": "hours"})]
WholeHours = Annotated[int, Field(strict=True, ge=1, json_schema_extra={"unit": "hours"})]
WholeDays = Annotated[int, Field(strict=True, ge=1, json_schema_extra={"unit": "days"})]
Text = Annotated[str, AfterValidator(printable)]
AbsolutePath = Annotated[Path, AfterValidator(absolute)]
Account = Annotated[str, AfterValidator(account_name)]
Prefix = Annotated[str, AfterValidator(pool_prefix)]
NodeName = Annotated[str, AfterValidator(node_name)]
SpoolPath = Annotated[str, AfterValidator(spool_path)]
UidRange = Annotated[str, AfterValidator(uid_range)]
CgroupPath = Annotated[str, AfterValidator(cgroup_path)]
StoreUrl = Annotated[str, AfterValidator(store_url)]
