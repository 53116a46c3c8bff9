"""Which uids subuid(5) lends an account besides its own.

With newuidmap(1) an account's processes take such uids in a user namespace of theirs, and a set-uid program that
they make there gives one to whoever executes it outside.  So they are the account's wherever they are seen.
"""

from __future__ import annotations

import os
import pwd

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.pools import FIRST_ORDINARY_UID, NOBODY

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

    Range = tuple[int, int, str]  # first uid, last uid, and whom they are lent to, or why to nobody

PATH = "/etc/subuid"
MOST_BYTES = 16 * 1024 * 1024
NO_UIDS = 2**32 - 1  # (uid_t) -1 and beyond
SIXTEEN_BITS = 2**16 - 1  # (uid_t) -1 of old system calls


class Lent:
    """The uids that the file ``path`` lends, read when the first uid without a passwd entry is asked about.

    ``faults`` are what (a range, or the file) -> why it lends nothing, of those that were met.
    """

    __slots__ = ("_known", "_lent", "_path", "_refused", "faults")

    def __init__(self, path: str = PATH) -> None:
        self._path = path
        self._known: dict[int, str] = {}
        self._lent: list[Range] | None = None  # hardly any machine has such a process, and the file can be long
        self._refused: list[Range] = []
        self.faults: dict[str, str] = {}

    def to(self, uid: int) -> str:
        """The account that ``uid`` is lent to, as the file has it, a name or a number; "" for none."""
        if uid not in self._known:
            self._known[uid] = self._look_up(uid) if uid >= FIRST_ORDINARY_UID and _is_nobodys(uid) else ""
        return self._known[uid]

    def _look_up(self, uid: int) -> str:
        from bisect import bisect_right  # noqa: PLC0415 - hardly any epilog needs it

        if self._lent is None:
            self._lent, self._refused = self._read()
        place = bisect_right(self._lent, (uid, NO_UIDS, "")) - 1
        if place >= 0 and self._lent[place][1] >= uid:
            return self._lent[place][2]
        for first, last, why in self._refused:
            if first <= uid <= last:
                self.faults[f"uids {first} to {last} in {self._path}"] = why
        return ""

    def _read(self) -> tuple[list[Range], list[Range]]:
        if not os.path.lexists(self._path):
            return [], []
        try:
            return parse(trusted.read_file(self._path, MOST_BYTES))
        except ConfigurationError as error:
            self.faults[self._path] = str(error)
            return [], []


class LentTo:
    """The uids that are lent to one account (``in``), by its name or its own uid."""

    __slots__ = ("_lent", "_names")

    def __init__(self, lent: Lent, account: str, uid: int) -> None:
        self._lent = lent
        self._names = (account, str(uid))

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, int) and self._lent.to(uid) in self._names


def parse(data: bytes) -> tuple[list[Range], list[Range]]:
    """The ranges that a file lends, and those that it cannot; each list in order, the first without overlaps.

    A line is ``ACCOUNT:FIRST:COUNT``; one of another form lends nothing.  Uids of the system, or of two accounts,
    are nobody's to lend.
    """
    ranges: list[Range] = []
    refused: list[Range] = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        name, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if not (name and first.isascii() and first.isdecimal() and count.isascii() and count.isdecimal()):
            continue
        one = (int(first), int(first) + int(count) - 1, name)
        if int(count) and _is_ordinary(*one[:2]):
            ranges.append(one)
        elif int(count):
            refused.append((one[0], one[1], f"it lends {name} uids that are the system's"))
    lent, shared = _apart(sorted(ranges))
    return lent, sorted([*refused, *shared])


def _apart(ranges: Iterable[Range]) -> tuple[list[Range], list[Range]]:
    """Those ranges, in order, of one account alone, joined where they overlap; and those of more than one."""
    blocks: list[tuple[int, int, dict[str, None]]] = []
    for first, last, name in ranges:
        if blocks and first <= blocks[-1][1]:
            begin, end, names = blocks[-1]
            blocks[-1] = (begin, max(end, last), {**names, name: None})
        else:
            blocks.append((first, last, {name: None}))
    lent = [(first, last, name) for first, last, names in blocks if len(names) == 1 for name in names]
    shared = [
        (first, last, f"they are lent to more than one: {', '.join(names)}")
        for first, last, names in blocks
        if len(names) > 1
    ]
    return lent, shared


def _is_ordinary(first: int, last: int) -> bool:
    reserved = any(first <= uid <= last for uid in (NOBODY, SIXTEEN_BITS))
    return first >= FIRST_ORDINARY_UID and last < NO_UIDS and not reserved


def _is_nobodys(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return True
    return False
