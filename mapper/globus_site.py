"""This site's sets of Globus mapping files, ready to be asked by the policy."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from gridwarden.errors import ConfigurationError
from gridwarden.mapper import globus, globus_external
from gridwarden.mapper.globus_external import Asking
from gridwarden.mapper.globus_followed import Followed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gridwarden.mapper.globus import Mapped
    from gridwarden.mapper.globus_values import Brought, GlobusValues
    from gridwarden.mapper.identity import Identity


def ask(name: str, identities: Sequence[Identity], values: GlobusValues, brought: Brought) -> Mapped | None:
    """What the set ``name`` gives to one of those identities that were brought, or None.

    Raises as ``globus.map_identities`` and ``globus_external.ask`` do, and ConfigurationError where there is no such
    set, or never was a good one.
    """
    chosen = next((one for one in values.sets if one.name == name), None)
    if chosen is None:
        raise ConfigurationError(f"globus {name}: site.yaml has no set of that name", "declare it in globus.sets")
    wanted = {identity.subject for identity in identities}
    people = [person for person in brought.people if person.identity.subject in wanted]
    documents = followed(chosen.name, chosen.files, chosen.kept).documents(look_only=brought.look_only)
    run = partial(globus_external.ask, asking=Asking(chosen.gateway, chosen.seconds))
    return globus.map_identities(documents, people, run)


@lru_cache(maxsize=64)
def followed(name: str, files: tuple[Path, ...], kept: Path) -> Followed:
    """The set as this process follows it, for as long as it lives."""
    return Followed(name, files, kept)
