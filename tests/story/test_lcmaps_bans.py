"""Bans that gridwarden writes, as the real LCMAPS of the same site reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden.mapper import ban_check
from tests.site.lcmaps import LcmapsRefusedError, lcmaps_map
from tests.site_values import values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = "/DC=org/DC=example/OU=People"
PEOPLE = [
    (f"{BASE}/CN=Mallory", ("/cms",)),
    (f"{BASE}/CN=Mallory/CN=deep", ()),
    (f"{BASE}/CN=Mal", ("/cms/Role=pilot",)),
    (f"{BASE}/CN=Trent", ("/atlas", "/cms/Role=pilot")),
    (f"{BASE}/CN=Trent", ("/cms/Role=pilots", "/cms")),
]
LISTED = ["--issuer", "https://iam.example.org/", "--subject", "4f2c"]


def gridwarden(*arguments: str) -> None:
    subprocess.run(["gridwarden", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def bans():
    patterns = [f"{BASE}/CN=Mallory*", "/cms/Role=pilot"]
    for pattern in patterns:
        gridwarden("ban", "add", pattern, "--because", 'it\'s "stolen" # really')
    gridwarden("ban", "add", *LISTED, "--because", "ticket 4711")
    gridwarden("ban", "add", f"{BASE}/CN=Mallory", "--until", "+1h", "--because", "ticket 4711")
    yield
    for pattern in patterns:
        gridwarden("ban", "remove", pattern)
    gridwarden("ban", "remove", *LISTED)
    gridwarden("ban", "remove", f"{BASE}/CN=Mallory")


def lcmaps_bans(work: Path, file: str, people: Sequence[tuple[str, tuple[str, ...]]] = PEOPLE) -> list[bool]:
    """Whom LCMAPS bans of some by one file, as both of its plugins read it."""
    (work / "map").write_text("".join(f'"{subject}" alice\n' for subject, _ in people))
    (work / "lcmaps.db").write_text(
        "path = /usr/lib/lcmaps\n"
        f'dn = "lcmaps_ban_dn.mod -banmapfile {file}"\n'
        f'fqan = "lcmaps_ban_fqan.mod -banmapfile {file}"\n'
        f'local = "lcmaps_localaccount.mod -gridmapfile {work}/map"\n'
        "site:\ndn -> fqan\nfqan -> local\n"
    )
    found = []
    for subject, fqans in people:
        try:
            assert lcmaps_map(subject, fqans, f"{work}/lcmaps.db").account == "alice"
            found.append(False)
        except LcmapsRefusedError:
            found.append(True)
    return found


def test_lcmaps_obeys_the_bans_that_gridwarden_writes_where_both_read(bans, tmp_path):
    site = values_of()._replace(ban_lists=())
    ours = [bool(ban_check.matching(subject, site, fqans=fqans)) for subject, fqans in PEOPLE]
    assert ours == lcmaps_bans(tmp_path, "/etc/gridwarden/bans") == [True, True, True, True, False]


def test_lcmaps_finds_nobody_in_a_ban_list(bans, tmp_path):
    assert lcmaps_bans(tmp_path, "/etc/gridwarden/ban-list") == [False] * len(PEOPLE)


@pytest.mark.parametrize(("bare", "written"), [("pilot/ce.example.org", "pilot\\/ce.example.org"), ("a+b", "a\\+b")])
def test_lcmaps_obeys_the_spelling_that_ban_add_tells_of_a_name_with_a_slash_in_a_part(bare, written, tmp_path):
    """LCMAPS on OpenSSL 3 is given ``\\/`` for it, and compares that alone; gridwarden bans each spelling by any."""
    names = [f"{BASE}/CN={name}" for name in (bare, written)]
    people = [(name, ()) for name in names]
    for name, theirs in zip(names, ([True, False], [False, True]), strict=True):
        done = subprocess.run(
            ["gridwarden", "ban", "add", name, "--because", "stolen"], check=True, capture_output=True, text=True
        )
        site = values_of()
        try:
            assert (f"ban {names[1]} instead" in done.stdout) is (name != names[1]), done.stdout
            assert [bool(ban_check.matching(one, site)) for one in names] == [True, True]
            assert lcmaps_bans(tmp_path, "/etc/gridwarden/bans", people) == theirs
        finally:
            gridwarden("ban", "remove", name)


def test_lcmaps_knows_an_attribute_by_one_name_where_gridwarden_bans_by_each(tmp_path):
    people = [(f"{BASE}/CN=Mallory/{name}=m@example.org", ()) for name in ("emailAddress", "Email", "E")]
    file = tmp_path / "bans"
    file.write_text(f'"{people[1][0]}"\n')
    site = values_of()._replace(bans=(file,), ban_lists=())
    assert [bool(ban_check.matching(subject, site)) for subject, _ in people] == [True, True, True]
    assert lcmaps_bans(tmp_path, str(file), people) == [False, True, False]
