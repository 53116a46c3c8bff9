"""The patterns of ban files, map files and policies: LCMAPS's, less what Python would read differently."""

from __future__ import annotations

# [^x], or the beginning of a class, collating symbol or equivalence class within brackets (POSIX XCU 2.13.1)
UNSUPPORTED = r"\[\^|\[!?\]?[^]]*\[[:.=]"


def check_pattern(pattern: str) -> str:
    """Return ``pattern``; raises ValueError for one that LCMAPS (fnmatch(3)) and Python would read differently."""
    if "[" not in pattern:
        return pattern
    import re  # noqa: PLC0415 - costs a launch 4 ms, and few patterns have brackets

    if found := re.search(UNSUPPORTED, pattern):
        raise ValueError(f"the pattern holds {found[0][-2:]!r}, which is not supported; [!x] is any character but x")
    return pattern


def fits(pattern: str, text: str) -> bool:
    """Whether ``text`` matches ``pattern``, as fnmatchcase has it."""
    if "[" not in pattern:
        return matches(pattern, text)
    from fnmatch import fnmatchcase  # noqa: PLC0415 - loads re, which costs a launch 4 ms

    return fnmatchcase(text, pattern)


def matches(pattern: str, subject: str) -> bool:
    """Whether a pattern without brackets matches: ``*`` any characters, ``?`` one; in time that does not grow beyond the product of their lengths."""
    first, *rest = pattern.split("*")
    if not rest:
        return _at(first, subject, 0) and len(first) == len(subject)
    if not _at(first, subject, 0):
        return False
    *middle, last = rest
    place, end = len(first), len(subject) - len(last)
    for part in middle:
        place = _find(part, subject, place, end)
        if place < 0:
            return False
        place += len(part)
    return place <= end and _at(last, subject, end)


def _at(part: str, subject: str, start: int) -> bool:
    """Whether ``part`` stands in ``subject`` at ``start``."""
    found = subject[start : start + len(part)]
    if found == part or "?" not in part:
        return found == part
    return len(found) == len(part) and all(want in ("?", have) for want, have in zip(part, found, strict=True))


def _find(part: str, subject: str, start: int, end: int) -> int:
    """Where ``part`` first stands between ``start`` and ``end``; -1 where it does not."""
    if "?" not in part:
        return subject.find(part, start, end)
    return next((place for place in range(start, end - len(part) + 1) if _at(part, subject, place)), -1)
