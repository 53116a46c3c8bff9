"""Who may not run here: ban files, read anew at every decision.

The files are in LCMAPS's grammar, keys only: a pattern of DNs or of FQANs a line.  A person is banned when a
line matches the subject or any FQAN.  Where a file cannot be read, or one line of it, nobody is mapped: a ban
that was meant might be in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper import map_files
from gridwarden.mapper.identity import without_null

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from gridwarden.mapper.identity import Identity

READ_LIMIT = 16 * 1024 * 1024
BEGINNINGS = ("/", "*", "?", "[")  # of a pattern that can match a DN or FQAN


class Ban(NamedTuple):
    """One pattern, and where it stands."""

    pattern: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read(paths: Iterable[str | os.PathLike[str]]) -> list[Ban]:
    """Every ban of every file; raises ConfigurationError naming the file, or the lines that are wrong."""
    bans: list[Ban] = []
    for path in paths:
        try:
            data = trusted.read_file(path, READ_LIMIT)
        except ConfigurationError as error:
            hint = error.hint or f"restore it; for no bans, an empty file: install -m 644 /dev/null {path}"
            raise ConfigurationError(
                f"ban file {error}; while it cannot be read, everybody is refused", hint
            ) from error
        bans += parse(data, str(path))
    return bans


def parse(data: bytes, name: str) -> list[Ban]:
    """The bans in one file's bytes; raises ConfigurationError."""
    bans: list[Ban] = []
    faults: list[str] = []
    for line in map_files.parse(data, name):
        if line.rest and not line.quoted:  # LCMAPS would ban what stands before the blank, which is nobody
            faults.append(f"{name}:{line.number}: text after the pattern; quote a pattern that holds blanks")
        if not line.key.startswith(BEGINNINGS):
            faults.append(f"{name}:{line.number}: it matches nobody: a DN or FQAN begins with '/'")
        bans.append(Ban(line.key, name, line.number))
    if faults:
        raise ConfigurationError(faults, "until it is corrected, everybody is refused")
    return bans


def banned(identity: Identity, bans: Sequence[Ban]) -> Ban | None:
    """The first ban that matches the identity."""
    names = (identity.subject, *identity.fqans)
    return next((ban for ban in bans if any(ban_matches(ban.pattern, name) for name in names)), None)


def ban_matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches; one that spells out ``/Role=NULL/Capability=NULL`` means the FQAN without."""
    return map_files.matches(without_null(pattern), name)
