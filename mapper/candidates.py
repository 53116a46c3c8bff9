"""Which accounts to try first, without reading the directory: ``.gridwarden/accounts/POOL``, and throws.

That file holds the pool's account names, each on a line of 64 bytes, so that one at a random place can be read
alone.  It says nothing about who is free: each name is looked at.  Whoever had to read the directory writes it anew
when they saw more accounts or fewer; without it, or where it is out of date, the directory is read.
"""

from __future__ import annotations

import os
import random

from gridwarden import pools
from gridwarden.errors import Unavailable

TYPE_CHECKING = False  # typing's own costs a mapping 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gridwarden.mapper.gridmapdir import Gridmapdir

KIND = "accounts"
WIDTH = 64
LEAST = 64
SHARE = 10  # to look at one account in ten takes less than to read the whole directory


def probable(directory: Gridmapdir, pool: str) -> Iterator[str]:
    """Accounts of ``pool`` in random order, of all that are known or enough of them."""
    with directory.open_own(KIND, pool) as descriptor:
        if descriptor is None:
            return
        known = os.fstat(descriptor).st_size // WIDTH
        for place in places(known, min(known, max(LEAST, known // SHARE))):
            try:
                account = os.pread(descriptor, WIDTH, place * WIDTH).rstrip().decode("ascii", "replace")
            except OSError:
                return
            if pools.is_of_pool(account, pool):
                yield account


def places(known: int, enough: int) -> Iterator[int]:
    """``enough`` different places below ``known``, each thrown when it is wanted: mostly the second is the last."""
    seen: set[int] = set()
    while len(seen) < enough:
        place = random.randrange(known)  # noqa: S311 - nobody gains by guessing it
        if place not in seen:
            seen.add(place)
            yield place


def remember(directory: Gridmapdir, pool: str, found: Sequence[str]) -> None:
    """Write down the accounts of ``pool``, if they are not as many as were known."""
    fitting = [name for name in found if len(name) < WIDTH]  # others are found by reading the directory
    with directory.open_own(KIND, pool) as descriptor:
        if descriptor is not None and os.fstat(descriptor).st_size == len(fitting) * WIDTH:
            return
    try:
        directory.replace_own(KIND, pool, b"".join(name.encode("ascii").ljust(WIDTH - 1) + b"\n" for name in fitting))
    except Unavailable:
        pass  # nobody is refused for it: the next one reads the directory again
