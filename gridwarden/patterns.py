"""The patterns of ban files, map files and policies: LCMAPS's, less what Python would read differently."""

from __future__ import annotations

import re

# [^x], or the beginning of a class, collating symbol or equivalence class within brackets (POSIX XCU 2.13.1)
UNSUPPORTED = re.compile(r"\[\^|\[!?\]?[^]]*\[[:.=]")


def check_pattern(pattern: str) -> str:
    """Return ``pattern``; raises ValueError for one that LCMAPS (fnmatch(3)) and Python would read differently."""
    if found := UNSUPPORTED.search(pattern) if "[" in pattern else None:
        raise ValueError(f"the pattern holds {found[0][-2:]!r}, which is not supported; [!x] is any character but x")
    return pattern
