"""Globus identity sets: the linked identities of one person, as Globus Compute and Globus Connect Server hand them over.

A set is a JSON list of identity resources of Globus Auth (``globus_identity_set`` of an endpoint's start command, seen
with globus-compute-endpoint 4.19), or an object with that list under ``identities`` (``globus get-identities -F json``,
and ``identity_mapping_input#1.0.0``).  It proves nothing by itself: whoever hands it over has asked Globus.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import strict_json
from gridwarden.mapper.identity import LATEST, MAXIMUM_NAME, Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LONGEST_SET = 256 * 1024  # bytes
MOST_IDENTITIES = 100
# Globus Auth's words for an identity that its holder has logged in with; not "unused" (made for an invitation, say)
# and not "closed".
COUNTED = frozenset(("used", "private"))
INPUT_TYPE = "identity_mapping_input#1.0.0"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")


class Person(NamedTuple):
    """One identity of a set: its text properties, all of it as Globus sent it, and whether its status lets it count."""

    identity: Identity
    properties: Mapping[str, str]
    resource: Mapping[str, object]
    counts: bool


def parse(data: bytes, *, status_required: bool = True) -> tuple[Person, ...]:
    """The identities of a set, in its order; raises Refused (credential-malformed).

    ``status_required``: an identity without a status does not count.  (The documented example of what an external
    program is given has none.)
    """
    try:
        return people_of(identities_of(strict_json.parse(data, LONGEST_SET)), status_required=status_required)
    except ValueError as error:
        raise Refused(reasons.CREDENTIAL_MALFORMED, f"the Globus identity set: {error}") from None


def identities_of(value: object) -> Sequence[object]:
    """The list in what was handed over; raises ValueError."""
    if isinstance(value, dict):
        if value.get("DATA_TYPE", INPUT_TYPE) != INPUT_TYPE:
            raise ValueError("its DATA_TYPE is unknown")
        value = value.get("identities")
    if not isinstance(value, list) or not 0 < len(value) <= MOST_IDENTITIES:
        raise ValueError(f"is not a list of 1 to {MOST_IDENTITIES} identities")
    return value


def people_of(resources: Iterable[object], *, status_required: bool) -> tuple[Person, ...]:
    """Each identity, checked; raises ValueError."""
    people = []
    for number, resource in enumerate(resources, 1):
        try:
            people.append(person_of(resource, status_required=status_required))
        except ValueError as error:
            raise ValueError(f"identity {number}: {error}") from None
    if len({person.identity.subject for person in people}) < len(people):
        raise ValueError("one identity stands in it twice")
    return tuple(people)


def person_of(resource: object, *, status_required: bool) -> Person:
    """One identity; raises ValueError."""
    resource = resource if isinstance(resource, dict) else {}
    properties = {name: value for name, value in resource.items() if isinstance(value, str)}
    identifier = properties.get("id") or properties.get("sub") or ""
    if not _UUID.fullmatch(identifier) or properties.get("sub", identifier) != identifier:
        raise ValueError("its id is not one UUID")
    username = properties.get("username", "")
    if len(username) > MAXIMUM_NAME or not username.isprintable():
        raise ValueError("its username is not text")
    status = resource.get("status", None if status_required else "used")
    if status is not None and not isinstance(status, str):
        raise ValueError("its status is not text")
    identity = Identity(
        "globus",
        identifier.lower(),
        (),
        "",
        f"username={username}" if username else "",
        0,
        limited=False,
        username=username,
        identity_provider=domain_of(username),
        authenticated=time_of(resource.get("last_authentication")),
    )
    return Person(identity, properties, resource, status in COUNTED)


def domain_of(username: str) -> str:
    """The domain in a user name, for which Globus lets no other identity provider speak; empty if it has none."""
    domain = username.rpartition("@")[2] if "@" in username else ""
    return domain.lower() if _DOMAIN.fullmatch(domain) else ""


def time_of(value: object) -> int:
    """Seconds since the epoch, or 0 where Globus does not say."""
    return value if type(value) is int and 0 <= value <= LATEST else 0
