"""Files of the site that say whom to believe: authorities, revocation lists, signing policies, LSC files.

Runs in the verifier's child process, before it believes what such a file says.  Authorities' files are often links, so
links are followed here, and each of them and each directory on the way is judged as ``gridwarden.trusted`` would.  Names
are looked up again when the file is opened (by libcrypto, too): nobody else can have changed what is below what has passed.
"""

from __future__ import annotations

import os
import stat

from gridwarden import trusted
from gridwarden.errors import ConfigurationError

MOST_LINKS = 40  # as the kernel's own


class SiteFiles:
    """What one verification has judged: its directories once each, its files each time.

    Made anew for each verification, since whoever administers the site may have changed a mode in between.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[str, str] = {}  # a directory as it was named: where it is, without links

    def require_trusted(self, path: str) -> None:
        """Raise ConfigurationError unless ``path`` (absolute) leads to a regular file that others could not change.

        The directory that it is named in may not be one in which all can make files (``/tmp``), either: whether a file
        is there decides, too.  Raises FileNotFoundError where it leads nowhere.
        """
        try:
            status = self._status(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(f"{path}: {why} (the verifier is uid {os.geteuid()})", readable(path)) from error
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path}: is not a regular file")

    def require_numbered(self, *paths: str) -> None:
        """``require_trusted`` of each path with 0, 1 and so on added, as far as they go: libcrypto looks files up so."""
        for path in paths:
            number = 0
            try:
                while True:
                    self.require_trusted(f"{path}{number}")
                    number += 1
            except FileNotFoundError:
                pass

    def _status(self, path: str) -> os.stat_result:
        directory, _, name = path.rpartition("/")
        place = self._places.get(directory)
        if place is None:
            place, status = _walk("/", directory, path)
            trusted.refuse_changeable(status, place, sticky_allowed=False)
            self._places[directory] = place
        return _walk(place, name, path)[1]


def readable(path: str) -> str:
    """What to do where the verifier may not read ``path``."""
    return f"it has no rights: chmod a+r {path}, and a+x the directories above"


def _walk(place: str, way: str, path: str) -> tuple[str, os.stat_result]:
    """Where ``way`` leads from the directory ``place``, which has passed, and the status there; ``path`` is for messages."""
    links = 0
    status = os.lstat(place)
    left = way.split("/")[::-1]
    while left:
        name = left.pop()
        step = os.path.dirname(place) if name == ".." else os.path.join(place, name) if name not in ("", ".") else place
        status = os.lstat(step)
        if not stat.S_ISLNK(status.st_mode):
            trusted.refuse_changeable(status, step, sticky_allowed=stat.S_ISDIR(status.st_mode))
            place = step
            continue
        trusted.refuse_owner(status, step)
        links += 1
        if links > MOST_LINKS:
            raise ConfigurationError(f"{path}: leads through more than {MOST_LINKS} links")
        target = os.readlink(step)
        left += target.split("/")[::-1]
        if target.startswith("/"):
            place = "/"
    return place, status
