"""Ban lists: a file is read, and then written and read the same again, or refused with its lines."""

from __future__ import annotations

from gridwarden.errors import ConfigurationError
from gridwarden.mapper import ban_list, published

SEEDS = [
    b"# version: 2026-11-22T04:00:00Z list\nissuer=https://iam.example.org/\tsubject=4f2c\tbecause=ticket 4711\tauthor=root\n",
    b"serial=00:1A:2b\tissuer=/DC=org/CN=CA\tstart=2026-11-22T04:00:00Z\tend=2027-01-01T00:00:00Z\nvo=c\\x6ds\n",
    b"pattern=/DC=org/CN=E[vV]e*\njti=9b1d\naccount=cms017\n",
]


def one(data: bytes) -> None:
    version = published.version_of(data)
    assert version is None or published.seconds(version) is not None
    assert isinstance(published.name_of(data), str)
    try:
        found = ban_list.parse(data, "list")
    except ConfigurationError:
        return
    for ban in found:
        assert ban.conditions
        again = ban_list.parse_line(ban_list.line(ban), ban.file, ban.line)
        assert again == ban
