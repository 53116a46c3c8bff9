from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.errors import BadQuestion, ConfigurationError
from gridwarden.mapper import ban_list
from gridwarden.mapper.ban import Ban, banned
from gridwarden.mapper.ban_times import when
from gridwarden.mapper.identity import Identity

CA = "/DC=org/DC=example/CN=Example CA"
IAM = "https://iam.example.org/"
EVE = "/DC=org/CN=Eve"
PROXY = Identity("x509", EVE, ("/cms/sub/Role=pilot", "/atlas"), "cms", f"01ab{CA}", 0, limited=False)
TOKEN = Identity("token", f"{IAM},4f2c", (), "cms", "jti=9b1d", 0, limited=False, issuer=IAM)
HASHED = TOKEN._replace(credential="sha256=9b1d")
GLOBUS = Identity(
    "globus", "6f3-uuid", (), "", "", 0, limited=False, username="eve@a.org", identity_provider="a.org"
)  # fmt: skip
LOCAL = Identity("local", "eve", (), "", "", 0, limited=False)
NAMES = st.text(min_size=1) | st.lists(st.sampled_from([" ", "vo=", "subject=", "\\", "a"]), min_size=1).map("".join)


def parsed(*lines: str) -> list[Ban]:
    return ban_list.parse("".join(f"{line}\n" for line in lines).encode(), "list")


@pytest.mark.parametrize(
    ("line", "who"),
    [
        ("pattern=/DC=org/CN=E*", [PROXY]),
        ("pattern=/atlas", [PROXY]),
        ("vo=cms", [PROXY, TOKEN, HASHED]),
        ("vo=atlas", [PROXY]),
        ("vo=atl", []),
        (f"issuer={CA}", [PROXY]),
        (f"issuer={IAM}", [TOKEN, HASHED]),
        ("issuer=a.org", [GLOBUS]),
        ("issuer=https://iam.example.org", []),
        (f"issuer={IAM}\tsubject=4f2c", [TOKEN, HASHED]),
        (f"issuer={IAM}\tsubject=4f2", []),
        ("issuer=https://other/\tsubject=4f2c", []),
        (f"subject={IAM},4f2c", [TOKEN, HASHED]),
        ("subject=6f3-uuid", [GLOBUS]),
        ("subject=eve@a.org", [GLOBUS]),
        ("subject=eve", [LOCAL]),
        (f"subject={EVE}", [PROXY]),
        ("subject=*", []),
        ("jti=9b1d", [TOKEN]),
        ("serial=1AB", [PROXY]),
        (f"serial=00:01:aB\tissuer={CA}", [PROXY]),
        (f"serial=01ab\tissuer={CA}x", []),
        ("serial=9b1d", []),
        ("vo=cms\tsubject=eve", []),
        ("account=cms017", [PROXY, TOKEN, HASHED, GLOBUS, LOCAL]),
        ("account=cms017\tvo=atlas", [PROXY]),
        ("account=cms01", []),
    ],
)
def test_who_meets_every_condition_of_a_line_is_banned_and_nobody_else(line, who):
    everybody = [PROXY, TOKEN, HASHED, GLOBUS, LOCAL]
    assert [person for person in everybody if banned(person, parsed(line), "cms017")] == who


def test_nobody_without_an_account_yet_is_banned_for_an_account():
    assert banned(PROXY, parsed("account=cms017")) is None


@pytest.mark.parametrize(
    "line",
    [
        "/DC=org/CN=Eve",
        '"/DC=org/CN=Eve"',
        "dn=/DC=org/CN=Eve",
        "because=nobody in particular",
        "vo=",
        "vo= ",
        "vo=cms\t",
        "vo=cms\tvo=atlas",
        "vo=cms end=2026-01-01T00:00:00Z\tend=x",
        f"issuer={IAM} subject=4f2c",
        f"issuer={IAM}  subject=4f2c\tbecause=two blanks",
        "pattern=/CN=Eve because=ticket 4711",
        "pattern=DC=org",
        "pattern=/CN=[^a]",
        "serial=0xg",
        "vo=c\\ms",
        "vo=cm\rs",
        "vo=cms\r",
        "vo=cms\tend=2026-01-01",
        "vo=cms\tend=2026-13-01T00:00:00Z",
        "vo=cms\tstart=2026-01-01T00:00:00+01:00",
        "vo=cms\tstart=2026-01-02T00:00:00Z\tend=2026-01-02T00:00:00Z",
        "vo=\N{LATIN SMALL LETTER E WITH ACUTE}",
        "vo=cms\tuntil=2026-01-01T00:00:00Z",
    ],
)
def test_a_line_that_could_mean_somebody_else_makes_the_whole_file_unusable(line):
    with pytest.raises(ConfigurationError, match=r"^list:2: "):
        parsed("# bans", line, "vo=cms")


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-01-01T23:59:59Z", "not yet"),
        ("2026-01-02T00:00:00Z", "in force"),
        ("2026-03-01T11:59:59Z", "in force"),
        ("2026-03-01T12:00:00Z", "expired"),
        ("9999-01-01T00:00:00Z", "expired"),
    ],
)
def test_a_ban_holds_from_its_start_until_before_its_end(now, state):
    (ban,) = parsed("vo=cms\tstart=2026-01-02T00:00:00Z\tend=2026-03-01T12:00:00Z")
    assert ban.state(now) == state


def test_a_name_that_holds_what_looks_like_a_field_can_be_banned():
    eve = PROXY._replace(subject="/CN=Eve  vo=cms")
    ban = ban_list.checked({"subject": eve.subject, "vo": "cms"}, {"because": "see vo=cms"}, "list", 1)
    assert banned(eve, parsed(ban_list.line(ban))) == ban


@given(
    st.dictionaries(st.sampled_from(["vo", "issuer", "subject", "jti", "account"]), NAMES, min_size=1),
    st.text(),
)
def test_every_ban_that_can_be_made_is_read_back_as_it_was(conditions, because):
    conditions = {kind: value for kind, value in conditions.items() if value.strip() and value.isprintable()}
    if not conditions or not because.isprintable() or not because.strip():
        return
    ban = ban_list.checked(conditions, {"because": because, "author": "root"}, "list", 1)
    assert ban_list.parse(f"{ban_list.line(ban)}\n".encode(), "list") == [ban]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("", ""),
        ("+90m", "1970-01-02T01:30:00Z"),
        ("+12h", "1970-01-02T12:00:00Z"),
        ("+7d", "1970-01-09T00:00:00Z"),
        ("2026-12-01T00:00Z", "2026-12-01T00:00:00Z"),
        ("2026-12-01T00:00:00+01:00", "2026-11-30T23:00:00Z"),
    ],
)
def test_the_end_of_a_ban_is_one_instant_wherever_it_is_typed(text, instant):
    assert when(text, now=86400) == instant


@pytest.mark.parametrize("text", ["tomorrow", "12h", "+12", "-1h", "2026-12-01", "2026-12-01T00:00", "+9999999d"])
def test_an_end_that_could_be_two_instants_is_refused(text):
    with pytest.raises(BadQuestion):
        when(text)
