"""What a row of the scenario table is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scenarios.play import Play
    from tests.scenarios.statements import Statement

READERS = ("user", "administrator", "whoran", "accounting")


class Row(NamedTuple):
    """One scenario.

    ``whose`` is ``person`` for somebody's whom the site maps, ``own`` for one's in no other row, whose account changes
    hands in this one, ``newcomer`` for one's who has no account yet, ``local`` for a user's of the machine, ``pilot``
    for a pilot's.  ``alone`` is one that would disturb others beside it, or they it, ``stamped`` one that needs stamps.
    """

    name: str
    happens: str
    play: Callable[[Play], None]
    user: tuple[Statement, ...] = ()
    administrator: tuple[Statement, ...] = ()
    whoran: tuple[Statement, ...] = ()
    accounting: tuple[Statement, ...] = ()
    whose: str = "person"
    alone: bool = False
    stamped: bool = False
