"""What in a map file probably does not do what its author meant, as LCMAPS's plugins read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import pools
from gridwarden.errors import Refused
from gridwarden.mapper.accounts import usable
from gridwarden.mapper.identity import without_null
from gridwarden.mapper.map_files import SPECIAL, mappings, matches_as_in_lcmaps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gridwarden.mapper.accounts import Users
    from gridwarden.mapper.lcmaps_plugins import Plugin
    from gridwarden.mapper.map_files import Line, MapFile

BEGINNINGS = ("/", "*", "?", "[")  # of a key that can match a DN or FQAN


def traps(map_file: MapFile, how: Plugin, declared: Sequence[str], users: Users) -> list[str]:
    """A sentence (``FILE:LINE: what``) for each trap in what a plugin that reads so can read of a file, with these pools."""
    found = [(line.number, what) for line in map_file.lines for what in of_line(line, how, declared, users)]
    found += unreachable(map_file.lines, how)
    return [f"{map_file.name}:{number}: {what}" for number, what in sorted(found)]


def of_line(line: Line, how: Plugin, declared: Sequence[str], users: Users) -> Iterator[str]:
    """The traps in one line."""
    values = mappings(line.rest)
    if not line.key.startswith(BEGINNINGS):
        yield f"{line.key} matches nobody: a DN or FQAN begins with '/'"
    if not line.quoted and is_dn(line.key) and len(values) > 1:
        yield f"the DN stands without quotes, so it ends at the first blank: {line.key}"
        return
    if how.wildcards and is_dn(line.key) and not {"[", "?"}.isdisjoint(line.key):
        yield f"[ and ? are wildcards: {line.key} does not stand for itself alone, and with [ not for itself at all"
    if not how.wildcards and "*" in line.key:
        yield f"this plugin knows no wildcards: {line.key} stands for itself alone"
    if how.fqans and without_null(line.key) != line.key:
        yield f"{line.key} matches nobody: FQANs are compared without /Role=NULL and /Capability=NULL"
    for value in values:
        if value.startswith(".") is how.pools:
            yield from of_pool(value[1:], declared) if how.pools else of_account(value, declared, users)
            break  # the first of its sort is the one that counts


def of_pool(pool: str, declared: Sequence[str]) -> Iterator[str]:
    """What is wrong with a pool that a line gives."""
    if pool in declared:
        return
    longer = [other for other in declared if pool.startswith(other) or other.startswith(pool)]
    beside = f", only {', '.join(longer)}; older programs would mix their accounts" if longer else ""
    yield f"there is no pool {pool!r} in site.yaml{beside}"


def of_account(account: str, declared: Sequence[str], users: Users) -> Iterator[str]:
    """What is wrong with an account that a line gives."""
    for pool in declared:
        if pools.is_of_pool(account, pool):
            yield f"{account} is an account that pool {pool} lends, so nobody is given it"
            return
    try:
        usable(account, users)
    except Refused as refusal:
        yield refusal.detail


def unreachable(lines: Sequence[Line], how: Plugin) -> Iterator[tuple[int, str]]:
    """Lines that no name ever comes to, because one above takes all of theirs: (line, what)."""
    literal: dict[str, int] = {}
    patterns: list[tuple[str, int]] = []
    for line in lines:
        if not any(value.startswith(".") is how.pools for value in mappings(line.rest)):
            continue  # the plugin passes over it
        above = literal.get(line.key) or next((at for key, at in patterns if matches_as_in_lcmaps(key, line.key)), 0)
        if above:
            yield line.number, f"{line.key} never comes into play: line {above} takes whoever it is for"
        if not how.wildcards or SPECIAL.isdisjoint(line.key):
            literal.setdefault(line.key, line.number)
        elif {"?", "["}.isdisjoint(line.key):  # with * alone, matching a pattern's text is matching all it matches
            patterns.append((line.key, line.number))


def is_dn(key: str) -> bool:
    """Whether a key is meant for DNs: its first part is a ``TYPE=value``."""
    return "=" in key.removeprefix("/").partition("/")[0]
