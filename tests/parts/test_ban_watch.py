"""A payload ends when its owner is banned, however that is said, and for no other reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import holders
from gridwarden.hooks.pilot import ban_watch
from gridwarden.mapper.ban import moment
from tests.gridmap import asked, make_accounts, make_site, person

if TYPE_CHECKING:
    from gridwarden.mapper.site import SiteValues

ANNA = "/DC=org/DC=example/CN=Anna"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ban_watch, "LOOK_SECONDS", 0.0)


@pytest.fixture
def site(tmp_path: Path) -> SiteValues:
    found = make_site(tmp_path / "site")
    for name in ("bans", "list"):
        (tmp_path / name).write_text("")
    return found._replace(bans=(str(tmp_path / "bans"),), ban_lists=(str(tmp_path / "list"),))


@pytest.fixture
def watch(site: SiteValues) -> ban_watch.BanWatch:
    held = asked(site, person("Anna"), make_accounts(site, "cms001"))
    return ban_watch.BanWatch([person("Anna")], held.account, site)


def test_a_ban_that_came_while_the_owner_was_mapped_is_seen_at_the_first_look(
    site: SiteValues, watch: ban_watch.BanWatch
) -> None:
    Path(site.bans[0]).write_text(f'"{ANNA}"\n')
    assert watch.why() == f"banned: {ANNA}"


def test_only_a_ban_of_the_owner_ends_a_payload(site: SiteValues, watch: ban_watch.BanWatch) -> None:
    assert watch.why() == ""
    Path(site.bans[0]).write_text('"/DC=org/DC=example/CN=Bela"\n')
    assert watch.why() == ""
    Path(site.ban_lists[0]).write_text("account=cms002\n")
    assert watch.why() == ""
    Path(site.ban_lists[0]).write_text("account=cms001\n")
    assert watch.why() == "banned: account=cms001"


@pytest.mark.parametrize("ban", ["pattern=/DC=org/DC=example/CN=Robot", "account=pilotcms"])
def test_a_ban_of_the_pilot_ends_what_it_has_started(site: SiteValues, ban: str) -> None:
    watch = ban_watch.BanWatch([person("Anna")], "cms001", site, [person("Robot")], "pilotcms")
    assert watch.why() == ""
    Path(site.ban_lists[0]).write_text(f"{ban}\n")
    assert watch.why() == f"banned: {ban.removeprefix('pattern=')}"


def test_a_ban_that_begins_later_ends_a_payload_then_without_any_change_of_a_file(
    site: SiteValues, watch: ban_watch.BanWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(site.ban_lists[0]).write_text("pattern=*Anna\tstart=2090-01-01T00:00:00Z\n")
    assert watch.why() == watch.why() == ""
    monkeypatch.setattr(ban_watch, "moment", lambda: "2090-01-01T00:00:00Z")
    assert watch.why() == "banned: *Anna"


def test_a_ban_that_is_over_ends_nothing(site: SiteValues, watch: ban_watch.BanWatch) -> None:
    Path(site.ban_lists[0]).write_text(f"pattern=*Anna\tend={moment()}\n")
    assert watch.why() == ""


def test_a_ban_that_reached_only_the_holder_file_ends_a_payload(site: SiteValues, watch: ban_watch.BanWatch) -> None:
    assert watch.why() == ""
    held = holders.read(site.holders, "cms001")
    held.verdict, held.because = holders.BANNED, "elsewhere"
    holders.publish(site.holders, held)
    assert watch.why() == "banned: elsewhere"


@pytest.mark.parametrize("how", ["gone", "torn", "writable", "another's holder"])
def test_nobody_is_ended_because_a_file_cannot_be_relied_on_and_the_next_good_one_counts(
    site: SiteValues, watch: ban_watch.BanWatch, how: str
) -> None:
    path = Path(site.bans[0])
    match how:
        case "gone":
            path.unlink()
        case "torn":
            path.write_text('"/DC=org/DC=exa')
        case "writable":
            path.write_text(f'"{ANNA}"\n')
            path.chmod(0o666)
        case _:
            Path(site.holders, "cms001").write_text("nonsense")
    assert watch.why() == watch.why() == ""
    path.unlink(missing_ok=True)
    path.write_text(f'"{ANNA}"\n')
    path.chmod(0o644)
    assert watch.why() == f"banned: {ANNA}"


def test_files_that_stay_as_they_are_are_not_read_again(
    site: SiteValues, watch: ban_watch.BanWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watch.why() == ""
    monkeypatch.setattr(ban_watch.bans, "everywhere", lambda _: pytest.fail("read again"))
    assert watch.why() == ""
    assert os.path.exists(site.bans[0])
