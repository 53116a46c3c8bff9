"""What ``gridwarden config check`` and ``doctor`` say of the ban files: while one cannot be read, everybody is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gridwarden.errors import ConfigurationError
from gridwarden.mapper import bans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.settings import Settings


INSTALL = "gridwarden config install makes it"


def remarks(settings: Settings) -> list[str]:
    """A sentence for each file that is not here yet and that ``gridwarden config install`` makes."""
    paths = (*settings.bans[:1], *settings.ban_lists[:1])
    return [f"{path}: is not here, so everybody is refused" for path in paths if not os.path.lexists(path)]


def faults(settings: Settings) -> Iterator[ConfigurationError]:
    """What is wrong with each file that is here, or that nothing but its author makes."""
    for paths, read in ((settings.bans, bans.read), (settings.ban_lists, bans.read_lists)):
        for place, path in enumerate(paths):
            if place or os.path.lexists(path):
                try:
                    read([path])
                except ConfigurationError as error:
                    yield error


def risks(settings: Settings) -> list[dict[str, object]]:
    """The files because of which nobody is mapped, in the form of ``gridwarden doctor``."""
    found = [("; ".join(error.faults), error.hint) for error in faults(settings)]
    found += [(sentence, INSTALL) for sentence in remarks(settings)]
    return [{"kind": "ban-file-unusable", "detail": detail, "remedy": remedy} for detail, remedy in found]
