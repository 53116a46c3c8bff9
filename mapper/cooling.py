"""Cooling: a released account that everyone still sees as taken, and what is known of it.

A lease N of account A that is released becomes ``.gridwarden-cooling:A:LEASE``: the same inode, so the link
count stays 2 and every program passes the account over.  ``.gridwarden/cooling/A:LEASE`` says since when, in
``key<TAB>value`` lines; it is written before the name changes (``since`` 0) and again after.  A lease id is
random, so such a name never comes back: whoever holds the file's lock and sees the name is not too late.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import tab_file

if TYPE_CHECKING:
    from gridwarden.mapper.gridmapdir import Gridmapdir

PREFIX = ".gridwarden-cooling:"
KIND = "cooling"
NAME = re.compile(re.escape(PREFIX) + r"(?P<account>[^:/]+):(?P<lease>[0-9a-f]{32})")


class Cooling(NamedTuple):
    """A released lease: ``name`` it had (empty if that is lost), ``since`` µs since the epoch, 0 before it began."""

    account: str
    lease: str
    name: str
    uid: int
    inode: int
    since: int

    @property
    def file(self) -> str:
        """Its name below ``.gridwarden/cooling``."""
        return f"{self.account}:{self.lease}"

    @property
    def cooling_name(self) -> str:
        """Its name in the gridmapdir."""
        return name(self.account, self.lease)


def name(account: str, lease: str) -> str:
    """The name in the gridmapdir under which an account cools."""
    return f"{PREFIX}{account}:{lease}"


def parse(entry: str) -> tuple[str, str] | None:
    """The account and lease id in a cooling name; None for any other name."""
    match = NAME.fullmatch(entry)
    return (match["account"], match["lease"]) if match else None


def find(directory: Gridmapdir) -> list[tuple[str, str, int]]:
    """Account, lease id and inode of every cooling name, by account."""
    found = ((parse(entry), inode) for entry, inode in directory.entries())
    return sorted((*parts, inode) for parts, inode in found if parts)


def read(directory: Gridmapdir, account: str, lease: str) -> Cooling | None:
    """What is known of a cooling account; None when nothing is, or the file is not whole."""
    try:
        values = tab_file.decode(directory.read_own(KIND, f"{account}:{lease}") or b"")
        one = {key: value for key, (value,) in values.items()}
        known = Cooling(
            one["account"], one["lease"], one["name"], int(one["uid"]), int(one["inode"]), int(one["since"])
        )
    except (ValueError, KeyError):
        return None
    return known if (known.account, known.lease) == (account, lease) else None


def write(directory: Gridmapdir, cooling: Cooling) -> None:
    """Make what is known of a cooling account durable."""
    directory.replace_own(KIND, cooling.file, tab_file.encode([(k, str(v)) for k, v in cooling._asdict().items()]))
