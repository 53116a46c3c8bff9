"""What LCMAPS and gLExec log: tests/data/lcmaps-1.6.6 was written by the real LCMAPS on the test site, within gLExec's name."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.batch_records import Ignored
from gridwarden.accounting.claims import Claim, account_of
from gridwarden.accounting.syslog_claims import is_lcmaps, is_syslog, of_lcmaps, of_syslog

RECORDED = Path(__file__).parent.parent / "data/lcmaps-1.6.6"
SYSLOG = (RECORDED / "syslog").read_text(encoding="utf-8").splitlines()
OWN = (RECORDED / "lcmaps.log").read_text(encoding="utf-8").splitlines()
ANNA = "/DC=org/DC=example/CN=Anna Example"
MAPPED = f"DN:\"{ANNA}\"->mapped uid:'2220',pgid:'2220'"
WRITTEN = 1_795_360_000_000_000  # 2026-11-22 15:06:40 UTC


def read(line: str, written: int = WRITTEN) -> Claim | Ignored | str:
    """What a line of syslog says, or why it is put aside."""
    try:
        return of_syslog(line, written=written, zone=UTC)
    except ValueError as error:
        return str(error)


def claim(line: str, written: int = WRITTEN) -> Claim:
    found = read(line, written)
    assert isinstance(found, Claim), found
    return found


def test_whom_the_real_lcmaps_mapped_is_read_with_account_time_and_process():
    assert claim(SYSLOG[5]) == Claim(
        log="glexec", what="mapping", node="site", time=1795359887_334771, account=account_of(2220), scheme="x509",
        subject=ANNA, pid=290,
    )  # fmt: skip
    assert of_lcmaps(OWN[0], node="ce1") == Claim(
        log="lcmaps", what="mapping", node="ce1", time=1795359887_000000, account=account_of(2220), scheme="x509",
        subject=ANNA, pid=289,
    )  # fmt: skip


def test_every_recorded_line_is_a_mapping_or_known_to_be_none_or_put_aside():
    found = [read(line) for line in SYSLOG]
    subjects = [each.subject for each in found if isinstance(each, Claim)]
    assert subjects == [ANNA, "/DC=org/DC=nowhere/CN=Nobody", ANNA]
    # A DN with a double quote in it, and one that would be uid 0's, have no single reading.
    odd = [each for each in found if isinstance(each, str)]
    assert odd == ["names nobody clearly: DN and uid cannot be told apart"] * 3
    assert found[0] == Ignored("of other programs")
    assert found[1] == Ignored("says nothing of who")  # refused: only their DN is logged


def test_a_dn_that_says_it_was_mapped_to_root_is_not_believed():
    (refused,) = [line for line in SYSLOG if line.endswith("uid:'0',pgid:'0'\"")]
    (mapped,) = [line for line in SYSLOG if "uid:'0'" in line and line.endswith("'2218'")]
    assert read(refused) == read(mapped) == "names nobody clearly: DN and uid cannot be told apart"


@pytest.mark.parametrize(
    "line",
    [
        f"2026-11-22T15:04:47+00:00 ce1.example.org globus-gridftp-server[290]: lcmaps: LCMAPS CRED FINAL: {MAPPED}",
        f"2026-11-22T15:04:47Z ce1 gsisshd[290]: LCMAPS CRED FINAL: {MAPPED},sgid:'5',sgid:'6'",
        f"<37>1 2026-11-22T15:04:47Z ce1 storm 290 - - lcmaps: LCMAPS CRED FINAL: {MAPPED}",
        f"Nov 22 15:04:47 ce1 storm[290]: lcmaps: storm: LCMAPS CRED FINAL: {MAPPED}",
    ],
)
def test_every_form_of_syslog_gives_the_same(line):
    assert is_syslog(line)
    found = claim(line)
    assert (found.log, found.node, found.time // 1_000_000, found.pid) == ("lcmaps", "ce1", 1795359887, 290)
    assert (found.subject, found.account) == (ANNA, account_of(2220))


def test_a_time_without_a_year_is_of_the_year_before_the_file_was_written():
    year = 365 * 86_400 * 1_000_000
    line = f"Dec 31 23:59:59 ce1 x[1]: lcmaps: LCMAPS CRED FINAL: {MAPPED}"
    assert claim(line).time == 1767225599_000000  # 2025-12-31
    assert claim(line, WRITTEN - 3 * year).time == 1672531199_000000  # 2022-12-31
    east = of_syslog(line, written=WRITTEN, zone=timezone(timedelta(hours=1)))
    assert isinstance(east, Claim)
    assert east.time == 1767221999_000000


@pytest.mark.parametrize(
    "text",
    [
        f"sshd[9]: Invalid user lcmaps: LCMAPS CRED FINAL: {MAPPED}",
        f"sshd[9]: Invalid user x: y: LCMAPS CRED FINAL: {MAPPED}",
        "sshd[9]: Invalid user glexec.mon[1#2]: Started, target uid 0",
        f"su: x lcmaps: LCMAPS CRED FINAL: {MAPPED}",
        "last message repeated 3 times",
        "-- MARK --",
        f"Some Program[7]: lcmaps: LCMAPS CRED FINAL: {MAPPED}",
    ],
)
def test_what_a_stranger_made_another_program_log_is_no_mapping(text):
    assert isinstance(read(f"Nov 22 15:04:47 ce1 {text}"), Ignored)


@pytest.mark.parametrize(
    "line",
    [
        f"Nov 99 15:04:47 ce1 x[1]: lcmaps: LCMAPS CRED FINAL: {MAPPED}",
        f"2026-13-22T15:04:47Z ce1 x[1]: lcmaps: LCMAPS CRED FINAL: {MAPPED}",
        f"LCMAPS CRED FINAL: {MAPPED}",
        f"Nov 22 15:04:47 ce1 x[1]: lcmaps: LCMAPS CRED FINAL: {MAPPED} and more",
        "Nov 22 15:04:47 ce1 x[1]: lcmaps: LCMAPS CRED FINAL: DN:\"\"->mapped uid:'1'",
        "Nov 22 15:04:47 ce1 x[1]: lcmaps: LCMAPS CRED FINAL: DN:\"/CN=a\"->mapped uid:'99999999999'",
        'Nov 22 15:04:47 n1 glexec.mon[1#2]: Used DN: "/CN=a" "/CN=b"',
    ],
)
def test_an_odd_line_is_put_aside(line):
    assert isinstance(read(line), str)


def test_what_journalctl_says_itself_and_the_further_lines_of_an_entry_are_known():
    for line in (
        "-- Logs begin at Sat 2024-05-18, end at Sun 2024-05-19. --",
        "-- Boot 0f0e --",
        "      second line",
        "",
    ):
        assert isinstance(read(line), Ignored) == (line != "")
        assert is_syslog(line) == line.startswith("-- ")


def test_the_monitor_of_a_payload_says_in_three_lines_who_ran_from_when_to_when():
    begin = "Nov 22 15:04:47 n1 glexec.mon[4000#4001]: "
    start, name, end = (
        claim(begin + text)
        for text in ("Started, target uid 2220", f'Used DN: "{ANNA}"', "Terminated, CPU user 5 system 1")
    )
    assert {each.session for each in (start, name, end)} == {"4000#4001"}
    assert {each.pid for each in (start, name, end)} == {4001}
    assert [each.what for each in (start, name, end)] == ["start", "name", "end"]
    assert (start.account, name.subject) == (account_of(2220), ANNA)
    assert read(begin + 'Used FQAN: "/cms"') == Ignored("says nothing of who")
    of_plugin = claim("Nov 22 15:04:47 n1 lcmaps-namespace[7]: glexec.mon[4000#4001]: Started, target uid 2220")
    assert of_plugin == start


def test_the_same_line_of_two_files_is_one_claim_and_another_second_is_another():
    one = claim(SYSLOG[5])
    assert one.digest == one._replace(place="/var/log/messages:1").digest
    assert one.digest != one._replace(time=one.time + 1).digest


@given(st.text() | st.text().map(lambda text: f"Nov 22 15:04:47 n1 glexec[1]: lcmaps: LCMAPS CRED FINAL: DN:{text}"))
def test_no_text_ends_the_reading(text):
    assert read(text) is not None
    is_lcmaps(text)


@given(st.text(st.characters(exclude_characters='"'), min_size=1))
def test_a_dn_without_a_double_quote_is_read_back_as_it_was(subject):
    line = f"Nov 22 15:04:47 n1 x[1]: lcmaps: LCMAPS CRED FINAL: DN:\"{subject}\"->mapped uid:'7',pgid:'7'"
    assert claim(line).subject == subject
