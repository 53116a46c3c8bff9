"""Logs of computing elements: whose job became which, and nothing that a name in them could forge."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.batch_records import Ignored
from gridwarden.accounting.ce_claims import lrms_job, of_audit, of_blah
from gridwarden.accounting.claims import Claim

BLAH = (
    '"timestamp=2024-05-18 00:00:58" "userDN=/DC=org/DC=example/CN=Anna Example" '
    '"userFQAN=/atlas/Role=pilot/Capability=NULL" "userFQAN=/atlas/Role=NULL/Capability=NULL" '
    '"ceID=ce1.example.org:8443/cream-pbs-atlas" "jobID=CREAM663276716" "lrmsID=15876368.pbs.example.org" '
    '"localUser=4200000000" "clientID=cream_663276716"'
)
# As the schedd of HTCondor 23.9.6 wrote it on the test site.
AUDIT = "11/22/26 14:02:11 (cid:7) AuthMethod={}, AuthId={}, CondorId={}"


def blah(line: str) -> Claim:
    found = of_blah(line, node="here")
    assert isinstance(found, Claim)
    return found


def test_a_job_is_known_by_the_batch_systems_number_and_whose_it_was():
    assert blah(BLAH) == Claim(
        log="blah", what="job", node="ce1", time=1715990458_000000, account="4200000000", scheme="x509",
        subject="/DC=org/DC=example/CN=Anna Example", fqan="/atlas/Role=pilot/Capability=NULL", vo="atlas",
        batch="pbs", job="15876368",
    )  # fmt: skip


def test_a_job_of_a_token_is_known_as_htcondors_own_script_writes_it():
    line = (
        '"timestamp=2024-05-18 00:00:58" "userDN=pilot-sub" "userFQAN=/atlas" "ceID=ce2" '
        '"jobID=12.0_ce2.example.org" "lrmsID=schedd.example.org#12.0#1715990000" "localUser=cms017"'
    )
    found = blah(line)
    assert (found.scheme, found.subject, found.account) == ("token", "pilot-sub", "cms017")
    assert (found.batch, found.job) == ("htcondor", "12.0")


def test_a_job_without_a_credential_names_nobody():
    assert of_blah(BLAH.replace("/DC=org/DC=example/CN=Anna Example", ""), node="here") == Ignored(
        "without a credential"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CN=Anna Example", 'CN=Anna" "lrmsID=1.pbs'),  # a DN that closes the quotes names another job, too
        ("CN=Anna Example", 'CN=Anna" "localUser=0'),
        ("CN=Anna Example", 'CN=Anna"'),
        ("CN=Anna Example", 'CN=Anna" "extra=1'),
        ("2024-05-18 00:00:58", "2024-05-18A00:00:58"),
        ("2024-05-18 00:00:58", "9999-99-99 00:00:58"),
        ("15876368.pbs.example.org", "mypc"),
        ("15876368.pbs.example.org", ""),
        ('"lrmsID=15876368.pbs.example.org" ', ""),
        ('clientID=cream_663276716"', "clientID="),
    ],
)
def test_a_line_with_two_readings_is_put_aside(old, new):
    assert old in BLAH
    with pytest.raises(ValueError, match=r"stands twice|KEY=VALUE|not a time|no job"):
        of_blah(BLAH.replace(old, new), node="here")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4711", ("", "4711")),
        ("9575064.lrms1", ("pbs", "9575064")),
        ("12[3].pbs.example.org", ("pbs", "12[3]")),
        ("123.0", ("htcondor", "123.0")),
        ("schedd@ce.example.org#123.0#1715990000", ("htcondor", "123.0")),
    ],
)
def test_each_batch_systems_number_is_read(text, found):
    assert lrms_job(text) == found


def test_a_token_that_the_ce_mapped_is_a_mapping_of_the_account():
    line = AUDIT.format("SCITOKENS", "https://cms.example/,mallory", "cms017@users.htcondor.org")
    zone = timezone(timedelta(hours=1))
    assert of_audit(line, node="ce1", zone=zone) == Claim(
        "htcondor-ce", "mapping", "ce1", 1795352531_000000, "cms017", "token", "https://cms.example/,mallory"
    )


def test_a_certificate_with_fqans_is_known_by_its_dn():
    line = AUDIT.format("SSL", "/DC=org/CN=Anna, Dr,/cms/Role=NULL/Capability=NULL,/cms", "cms017@site")
    found = of_audit(line, node="ce1", zone=UTC)
    assert isinstance(found, Claim)
    assert (found.scheme, found.subject) == ("x509", "/DC=org/CN=Anna, Dr")


@pytest.mark.parametrize(
    ("method", "who", "account"),
    [
        ("FS", "alice@site", "alice@site"),
        ("IDTOKENS", "condor@site", "condor@site"),
        ("SCITOKENS", "no comma", "cms017@site"),
        ("SSL", "unmapped", "cms017@site"),
    ],
)
def test_local_users_and_daemons_are_no_mapping(method, who, account):
    assert of_audit(AUDIT.format(method, who, account), node="ce1", zone=UTC) == Ignored("of local users and daemons")


@pytest.mark.parametrize(
    "line",
    [
        AUDIT.format("SCITOKENS", "https://a/,x, CondorId=root@site", "cms017@site"),
        AUDIT.format("SCITOKENS", "https://a/,x", "cms017"),
        AUDIT.format("SCITOKENS", "https://a/,x", "cms017@site").replace("11/22/26", "13/45/26"),
        "AuthMethod=SCITOKENS, AuthId=a,b, CondorId=root@x",
    ],
)
def test_an_odd_line_of_the_audit_log_is_put_aside(line):
    with pytest.raises(ValueError, match=r"nobody clearly|not a time|no line"):
        of_audit(line, node="ce1", zone=UTC)


def test_what_a_connection_did_says_nothing_of_who():
    assert of_audit("11/22/26 14:02:11 (cid:7) Submitting new job 3.0", node="ce1", zone=UTC) == Ignored(
        "says nothing of who"
    )


@given(st.text() | st.text().map(lambda text: f'"timestamp=2024-05-18 00:00:58" "userDN={text}" "lrmsID=1"'))
def test_no_text_ends_the_reading(text):
    for read in (lambda: of_blah(text, node="n"), lambda: of_audit(text, node="n", zone=UTC)):
        with suppress(ValueError):
            assert isinstance(read(), Claim | Ignored)


@given(st.text(st.characters(exclude_characters='"\n'), min_size=1))
def test_a_dn_without_a_double_quote_is_read_back_as_it_was(subject):
    line = f'"timestamp=2024-05-18 00:00:58" "userDN={subject}" "lrmsID=1" "localUser=a"'
    assert blah(line).subject == subject
