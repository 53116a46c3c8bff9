"""Which name an identity's lease has at this site: of the subject alone, or with the groups of its FQANs.

The groups are those that LCMAPS's voms_localgroup finds and voms_poolaccount writes (1.7.1, measured): the
groupmapfile's first line that matches an FQAN and names a group gives that FQAN its group.  The first FQAN's
comes first, if it has one; those of the others follow, each once,
ordered by gid.
Groups are written as NSS names their gid.  Argus writes them in the order of its own group map file, and one
twice that is primary and secondary; so the two agree where nobody has more than one group.
"""

from __future__ import annotations

import grp

from gridwarden import reasons, trusted
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import map_files
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.map_files import MapFile

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.map_files import Line
    from gridwarden.mapper.site import LeaseValues

    class Groups(Protocol):
        """The system's groups; the module ``grp`` is one."""

        def getgrnam(self, name: str, /) -> grp.struct_group:
            """The group of that name; raises KeyError."""

        def getgrgid(self, gid: int, /) -> grp.struct_group:
            """The first group of that gid; raises KeyError."""


READ_LIMIT = 16 * 1024 * 1024


def name_of(identity: Identity, leases: LeaseValues, slot: int = 0, groups: Groups = grp) -> str:
    """The name of the identity's lease for ``slot`` (0: none); reads the groupmapfile if the site's names need it.

    Raises Refused (slot-not-allowed), ConfigurationError when the groups cannot be known.
    """
    if not 0 <= slot <= leases.slots:
        raise Refused(
            reasons.SLOT_NOT_ALLOWED,
            f"slot {slot} was asked for, and this site has {leases.slots or 'none'}",
            "leases.slots in site.yaml says how many accounts an identity may have",
        )
    if leases.name == "dn" or leases.groupmapfile is None:
        return lease_name(spelled(identity), slot=slot)
    lines = map_files.parse(trusted.read_file(leases.groupmapfile, READ_LIMIT), str(leases.groupmapfile))
    try:
        return lease_name(spelled(identity), suffix_groups(identity.fqans, lines, groups), slot)
    except ValueError as error:
        raise ConfigurationError(f"{leases.groupmapfile}:{error}", "LCMAPS would refuse everybody of it too") from error


def spelled(identity: Identity) -> str:
    """What a lease name encodes: a DN as it is, anybody else's subject behind ``/SCHEME/``, as no DN begins.

    A DN's first component has a ``=`` before any other ``/``.
    """
    return identity.subject if identity.scheme == "x509" else f"/{identity.scheme}/{identity.subject}"


def suffix_groups(fqans: Sequence[str], lines: Sequence[Line], groups: Groups) -> tuple[str, ...]:
    """The groups behind a lease name, in their order; raises ValueError (``LINE: what``)."""
    gids = [gid_of(fqan, lines, groups) for fqan in fqans]
    first = [gid for gid in gids[:1] if gid is not None]
    return tuple(groups.getgrgid(gid).gr_name for gid in first + sorted({gid for gid in gids[1:] if gid is not None}))


def gid_of(fqan: str, lines: Sequence[Line], groups: Groups) -> int | None:
    """The gid that the map gives to one FQAN, or None; raises ValueError for a group that does not exist."""
    from gridwarden.mapper import lcmaps_plugins  # noqa: PLC0415 - few sites name leases after groups

    found = lcmaps_plugins.first_value(MapFile("", tuple(lines)), (fqan,), lcmaps_plugins.GROUPS)
    if not found:
        return None
    try:
        gid = groups.getgrnam(found.value).gr_gid
        written = groups.getgrgid(gid).gr_name
    except KeyError:
        raise ValueError(f"{found.line}: there is no group {found.value!r} on this machine") from None
    if "/" in written:
        raise ValueError(f"{found.line}: the group {written!r} cannot stand in a file name")
    return gid
