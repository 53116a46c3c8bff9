"""Who may not run here: ban files and ban lists, read anew at every decision.

Ban files are in LCMAPS's grammar, keys only: a pattern of DNs or of FQANs a line.  Ban lists are gridwarden's own
(``ban_list``).  Where a file cannot be read, or one line of it, nobody is mapped: a ban that was meant might be in it.
"""

from __future__ import annotations

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.mapper import ban_list, map_files
from gridwarden.mapper.ban import IN_FORCE, PATTERN, Ban, ban_matches, banned, moment
from gridwarden.mapper.ban_list import BEGINNINGS

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from gridwarden.mapper.site import SiteValues

__all__ = ["BEGINNINGS", "Ban", "ban_matches", "banned", "everywhere", "in_force", "parse", "read", "read_lists"]

READ_LIMIT = 16 * 1024 * 1024
BECAUSE = "# because: "
AMBIGUOUS = frozenset(" ()")  # in an author's name


def in_force(site: SiteValues) -> list[Ban]:
    """Every ban of every file that holds now; raises ConfigurationError naming the file, or the lines that are wrong."""
    now = moment()
    return [ban for ban in everywhere(site) if ban.state(now) == IN_FORCE]


def everywhere(site: SiteValues) -> list[Ban]:
    """Every ban of every file, whenever it holds; raises ConfigurationError."""
    return read(site.bans) + read_lists(site.ban_lists)


def of_accounts(site: SiteValues) -> list[Ban]:
    """The bans that hold now of whoever would use some account, or of some who would; raises ConfigurationError."""
    now = moment()
    return [
        ban for ban in read_lists(site.ban_lists) if ban.state(now) == IN_FORCE and "account" in dict(ban.conditions)
    ]


def read(paths: Iterable[str | os.PathLike[str]]) -> list[Ban]:
    """Every ban of LCMAPS's files; raises ConfigurationError naming the file, or the lines that are wrong."""
    return _read(paths, parse)


def read_lists(paths: Iterable[str | os.PathLike[str]]) -> list[Ban]:
    """Every ban of our own lists, whenever it holds; raises ConfigurationError."""
    return _read(paths, ban_list.parse)


def _read(paths: Iterable[str | os.PathLike[str]], parser: Callable[[bytes, str], list[Ban]]) -> list[Ban]:
    bans: list[Ban] = []
    for path in paths:
        try:
            data = trusted.read_file(path, READ_LIMIT)
        except ConfigurationError as error:
            hint = error.hint or f"restore it; for no bans, an empty file: install -m 644 /dev/null {path}"
            raise ConfigurationError(
                f"ban file {error}; while it cannot be read, everybody is refused", hint
            ) from error
        bans += parser(data, str(path))
    return bans


def parse(data: bytes, name: str) -> list[Ban]:
    """The bans in one LCMAPS file's bytes, with the reason that a comment above gives; raises ConfigurationError."""
    bans: list[Ban] = []
    faults: list[str] = []
    texts = data.decode("utf-8", "surrogateescape").split("\n")
    for line in map_files.parse(data, name):
        if line.rest and not line.quoted:  # LCMAPS would ban what stands before the blank, which is nobody
            faults.append(f"{name}:{line.number}: text after the pattern; quote a pattern that holds blanks")
        if not line.key.startswith(BEGINNINGS):
            faults.append(f"{name}:{line.number}: it matches nobody: a DN or FQAN begins with '/'")
        because, author, made = _remark(texts[line.number - 2 : line.number - 1])
        bans.append(Ban(((PATTERN, line.key),), name, line.number, because, author, made=made))
    if faults:
        raise ConfigurationError(faults, "until it is corrected, everybody is refused")
    return bans


def _remark(above: list[str]) -> tuple[str, str, str]:
    """Why, who and when, of the comment line above a pattern."""
    if not above or not above[0].startswith(BECAUSE):
        return "", "", ""
    text = above[0].removeprefix(BECAUSE)
    because, opened, about = text.rpartition(" (")
    author, comma, made = about.removesuffix(")").partition(", ")
    if (
        opened
        and comma
        and about.endswith(")")
        and author
        and AMBIGUOUS.isdisjoint(author)
        and ban_list.is_moment(made)
    ):
        return because, author, made
    return text, "", ""
