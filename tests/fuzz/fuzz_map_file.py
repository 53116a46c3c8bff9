"""Map and ban files: whatever stands in them is read in one way or refused with its line."""

from __future__ import annotations

from gridwarden.errors import ConfigurationError
from gridwarden.mapper import bans, map_files

SEEDS = [
    b'"/DC=org/CN=Eve Example" .cms # a comment\n/cms/Role=pilot\tcmsprod,.cms\n',
    b'# because: x\n"/DC=org/CN=[Eve]\\"*"\n*\n',
]


def one(data: bytes) -> None:
    try:
        found = bans.parse(data, "bans")
        lines = map_files.parse(data, "bans")
    except ConfigurationError:
        return
    assert [ban.line for ban in found] == [line.number for line in lines]
    for line in lines:
        map_files.matches(line.key, line.key)
        map_files.mappings(line.rest)
