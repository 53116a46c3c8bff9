"""What lasted from ``start`` to ``end``, found by when it was, in SQL that SQLite and PostgreSQL share.

Half of all jobs are short, and a few last for weeks: an index by start alone is read back as far as the longest could
have begun.  So the index begins with how long each lasted, in six classes, and a seventh for what has not ended: of each class it is
read back no further than its longest.
"""

from __future__ import annotations

# Upper ends in microseconds: 71 minutes, 4.8 hours, 19 hours, 3.2 days, 13 days; beyond stands all that lasted longer.
_LONGEST = tuple(1 << power for power in (32, 34, 36, 38, 40))
_LASTS_ON = len(_LONGEST) + 1

CLASS = (
    f'CASE WHEN "end" IS NULL THEN {_LASTS_ON} '
    + " ".join(f'WHEN "end" - start < {longest} THEN {number}' for number, longest in enumerate(_LONGEST))
    + f" ELSE {len(_LONGEST)} END"
)
"""The class of a row: as an index has it, and so to be written in a query."""

ONE_NODE = "CASE WHEN replace(replace(nodes, ',', ''), '[', '') = nodes THEN nodes ELSE '*' END"
"""The node of a batch system's job, or ``*`` of one that ran on several, which Slurm writes n[1-3] and PBS n1,n2."""


def select_overlapping(columns: str, table: str, where: str = "") -> str:
    """Return a query for the rows that lasted into the time from ``:since`` to before ``:until``, and meet ``where``."""
    more = f" AND {where}" if where else ""
    begin = f"SELECT {columns} FROM {table} WHERE {CLASS} = "  # noqa: S608  our own names
    ended = [
        f'{begin}{number} AND start > :since - {longest} AND start < :until AND "end" >= :since{more}'
        for number, longest in enumerate(_LONGEST)
    ]
    longer = f'{begin}{len(_LONGEST)} AND start < :until AND "end" >= :since{more}'
    lasting = f"{begin}{_LASTS_ON} AND start < :until{more}"
    return " UNION ALL ".join([*ended, longer, lasting])
