"""What the rules of this site's policy refer to: the time, its pools, map files, Globus documents."""

from __future__ import annotations

import time

from gridwarden import trusted
from gridwarden.mapper import map_files
from gridwarden.mapper.policy import Surroundings

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.mapper.globus import Mapped
    from gridwarden.mapper.globus_values import Brought
    from gridwarden.mapper.identity import Identity
    from gridwarden.mapper.map_files import MapFile
    from gridwarden.mapper.site import SiteValues

READ_LIMIT = 16 * 1024 * 1024


def of(site: SiteValues, brought: Brought) -> Surroundings:
    """What this site's rules refer to for whom these Globus identities are linked.

    Map files are read when a rule asks for them, at each decision anew.
    """

    def globus(name: str, identities: Sequence[Identity]) -> Mapped | None:
        from gridwarden.mapper.globus_site import ask  # noqa: PLC0415 - only where a rule names such documents

        return ask(name, identities, site.globus, brought)

    return Surroundings(read_map_file, globus, site.pools, int(time.time()), site.limited_proxies)


def read_map_file(path: str) -> MapFile:
    """A map file that nobody but root could have written; raises ConfigurationError."""
    return map_files.read_map(trusted.read_file(path, READ_LIMIT), str(path))
