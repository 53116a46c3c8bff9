"""What was seen of a gridmapdir and of this machine at one moment, as values that can be judged.

Names in the directory are of four sorts: accounts; leases (``%2f…``); cooling names, by which a released account
stays taken; and withdrawn names, which a repair gives to a link that it is about to take away.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from gridwarden.mapper import cooling
from gridwarden.mapper.accounts import may_be_account
from gridwarden.pools import is_of_pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridwarden.holders import Holder
    from gridwarden.mapper.cooling import Cooling
    from gridwarden.mapper.names import LeaseFile
    from gridwarden.mapper.rules import Rule

WITHDRAWN = ".gridwarden-withdrawn:"


class File(NamedTuple):
    """One name's status; ``used`` is when its lease was last used, in µs since the epoch."""

    inode: int
    links: int
    used: int
    regular: bool = True


class Seen(NamedTuple):
    """Everything that a check looks at.

    ``files``: by name; ``claims``: lease name -> the exact identity (scheme, newline, subject) that the registry
    has for it; ``leases``: lease name -> its lease file, None when that is not whole; ``holders``: by account, and
    ``unreadable`` why one cannot be trusted; ``unusable``: account -> why this machine cannot use it; ``released``
    and ``freed``: lease ids of which this machine's ledger says so; ``cold``: what is known of each cooling name;
    ``adopts``: whether the site follows leases of other programs; ``half_made``: files of ours below ``.gridwarden``,
    as ``KIND/NAME``, that whoever began them will never finish; ``odd`` and ``unread``: why nothing counts that stands
    in others of them, or why those cannot be read; ``leases`` and ``cold`` leave them out, their claims are empty;
    ``on_hold``: account -> why it is on hold.
    """

    files: dict[str, File]
    claims: dict[str, bytes]
    leases: dict[str, LeaseFile | None]
    holders: dict[str, Holder]
    unreadable: dict[str, str]
    unusable: dict[str, str]
    pools: tuple[str, ...]
    rules: Sequence[Rule] = ()
    released: frozenset[str] = frozenset()
    freed: frozenset[str] = frozenset()
    cold: dict[str, Cooling] = {}  # noqa: RUF012 - a default that nobody changes
    adopts: bool = True
    half_made: tuple[str, ...] = ()
    odd: dict[str, str] = {}  # noqa: RUF012 - as above
    unread: dict[str, str] = {}  # noqa: RUF012 - as above
    on_hold: dict[str, str] = {}  # noqa: RUF012 - as above


class Names(NamedTuple):
    """The names in the directory that lead to one inode, by sort."""

    inode: int
    links: int
    accounts: list[str]
    leases: list[str]
    cooling: list[str]
    withdrawn: list[str]

    @property
    def others(self) -> list[str]:
        """All but the accounts."""
        return [*self.leases, *self.cooling, *self.withdrawn]


def by_inode(files: dict[str, File]) -> list[Names]:
    """The names of each inode, in the order of the first of them."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in sorted(files):
        if is_known(name) and files[name].regular:
            found[files[name].inode].append(name)
    return [
        Names(
            inode,
            files[names[0]].links,
            [name for name in names if may_be_account(name)],
            [name for name in names if is_lease(name)],
            [name for name in names if name.startswith(cooling.PREFIX)],
            [name for name in names if name.startswith(WITHDRAWN)],
        )
        for inode, names in found.items()
    ]


def is_known(name: str) -> bool:
    """Whether a name is of one of the four sorts; other names that begin with a dot are others' affair."""
    return not name.startswith(".") or name.startswith((cooling.PREFIX, WITHDRAWN))


def is_lease(name: str) -> bool:
    """Whether a name is that of a lease."""
    return not may_be_account(name) and not name.startswith(".")


def cooling_parts(name: str) -> tuple[str, str]:
    """The account and the lease id in a cooling name; both empty for any other name."""
    return cooling.parse(name) or ("", "")


def pool_of(account: str, pools: tuple[str, ...]) -> str:
    """The pool that an account is of, or nothing."""
    return next((pool for pool in pools if is_of_pool(account, pool)), "")


def identity_text(claim: bytes) -> str:
    """An exact identity of the registry as ``scheme subject``."""
    return claim.decode("utf-8", "surrogateescape").replace("\n", " ", 1)
