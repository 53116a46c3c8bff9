"""What the tests of leases share: a site with a gridmapdir of its own, and three accounts to lend."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden.errors import Refused
from gridwarden.mapper import repair, verifying
from tests import confined, payload
from tests.gridmap import Users, make_accounts, make_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridwarden.mapper.site import SiteValues


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    yield
    payload.end_all()


@pytest.fixture
def site(tmp_path: Path) -> SiteValues:
    """A site below the test's own directory, with no account file yet."""
    return make_site(tmp_path)


@pytest.fixture
def users(site: SiteValues) -> Users:
    """Three accounts of the pool cms, with their files."""
    return make_accounts(site, "cms001", "cms002", "cms003")


@pytest.fixture
def nothing_loaded_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifiers that load code when they are confined already, or end without a word, fail the test.

    To whoever presented the credential both look like a refusal.
    """
    really = verifying.answer

    def answer(verifier: verifying.Verifier, shown: str, doing: str = "verified", *limit: int) -> bytes:
        try:
            said = really(verifier, shown, doing, *limit)
        except Refused as refusal:
            if f"it could not be {doing}" in refusal.detail:
                pytest.fail(refusal.detail)
            raise
        assert not said.startswith(confined.LATE), said
        return said

    monkeypatch.setattr(verifying, "_START", confined.START)
    monkeypatch.setattr(verifying, "answer", answer)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory where making a file durable costs nothing; nobody else works there, so nothing need settle."""
    monkeypatch.setattr(repair, "SETTLING_SECONDS", 0)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there yet: a test that asks for it holds on both databases."""
    return f"sqlite:///{tmp_path}/store.sqlite" if request.param == "sqlite" else request.getfixturevalue("database")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The same, in SQLite: for what concerns its file."""
    return f"sqlite:///{tmp_path}/store.sqlite"
