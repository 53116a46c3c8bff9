"""What the mapper needs to know of this site's Globus mappings, as plain values that cost nothing to import."""

from __future__ import annotations

from gridwarden.values import NamedTuple

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import os

    from gridwarden.globus_settings import Globus
    from gridwarden.mapper.globus_people import Person


class GlobusSet(NamedTuple):
    """One set, as gridwarden/globus_settings.py declares it; ``kept`` is the file of its last good state."""

    name: str
    files: tuple[str, ...]
    kept: str
    seconds: float
    gateway: str


class GlobusValues(NamedTuple):
    """The section ``globus`` of site.yaml."""

    sets: tuple[GlobusSet, ...] = ()


class Brought(NamedTuple):
    """The linked Globus identities of who is to be mapped; ``look_only``: nothing may be written to find out."""

    people: tuple[Person, ...] = ()
    look_only: bool = False


NOTHING = Brought()


def from_globus(settings: Globus, kept: str | os.PathLike[str]) -> GlobusValues:
    """The values of site.yaml; ``kept`` is the directory of last good sets."""
    sets = (
        GlobusSet(one.name, tuple(map(str, one.files)), f"{kept}/{one.name}", one.seconds, one.gateway)
        for one in settings.sets
    )
    return GlobusValues(tuple(sets))
