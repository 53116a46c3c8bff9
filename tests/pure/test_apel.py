"""Messages for APEL: read by a reader of their own, they say of each job whose it was and what it used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting import apel, evidence
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.holder_of_job import Part
from gridwarden.accounting_settings import Accounting
from tests.apel_reader import read

SECOND = 1_000_000
NOVEMBER = 1_793_491_200 * SECOND  # 2026-11-01T00:00Z
ANNA = "/DC=org/DC=example/CN=Anna Example"
CHEN = "https://wlcg.cloud.example.org/,8d2f4a3c"
SITE = Accounting(
    apel={"submit_host": "ce.example.org", "value": 15.5},
    node_classes=({"nodes": "new*", "name": "new", "value": 20.25}, {"nodes": "*", "name": "old"}),
)
PLAIN = Accounting(apel={})


def job(**changes) -> Job:
    values = {
        "batch": "slurm", "cluster": "site", "job": "7", "submit": NOVEMBER, "restart": 0, "account": "cms001", "uid": 1,
        "start": NOVEMBER + 10 * SECOND, "end": NOVEMBER + 3610 * SECOND, "state": "COMPLETED", "exit_code": "0:0",
        "user_cpu": 0, "system_cpu": 0, "total_cpu": 3_000_400_000, "nodes": "new[1-2]", "stamp": "", "queue": "grid",
        "cores": 8, "node_class": "new", "group_name": "alice", "memory": 2 << 30,
    }  # fmt: skip
    return Job(**{**values, **changes})


def holder(subject: str = ANNA, fqan: str = "/cms/Role=pilot/Capability=NULL", scheme: str = "x509", vo: str = "cms"):
    return Part(scheme, subject, vo, "cms001", 0, evidence.BATCH, fqan=fqan)


def sent(kind: str, *pairs: tuple[Job, Part | None], settings: Accounting = SITE, **options) -> list[dict]:
    used = [apel.usage(job, part, settings, **options) for job, part in pairs]
    return [record for message in apel.messages(kind, used, settings, "EXAMPLE") for record in read(message)]


@pytest.mark.parametrize("kind", ["job-v0.3", "job-v0.4"])
def test_a_jobs_record_says_who_and_how_much(kind):
    (record,) = sent(kind, (job(), holder()))
    assert record == {
        "Site": "EXAMPLE", "SubmitHost": "ce.example.org", "MachineName": "site", "Queue": "grid", "LocalJobId": "7",
        "LocalUserId": "cms001", "GlobalUserName": ANNA, "FQAN": "/cms/Role=pilot/Capability=NULL", "VO": "cms",
        "VOGroup": "/cms", "VORole": "Role=pilot", "WallDuration": 3600, "CpuDuration": 3000, "Processors": 8, "NodeCount": 2,
        "StartTime": 1_793_491_210, "EndTime": 1_793_494_810, "InfrastructureType": "grid", "MemoryReal": 2 << 20,
        "ServiceLevelType": "hepscore23", "ServiceLevel": 20.25,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["job-v0.3", "job-v0.4"])
@pytest.mark.parametrize(
    ("group", "vo", "expected"),
    [
        ("/cms/production", "cms", ("/cms/production", "cms", "/cms/production")),
        ("", "cms", (None, "cms", "None")),
        # APEL would make "production" a VO out of this one.
        ("/production", "cms", (None, "cms", "/production")),
    ],
)
def test_the_job_of_a_tokens_holder_has_a_name_a_vo_and_its_group(kind, group, vo, expected):
    (record,) = sent(kind, (job(), holder(CHEN, group, "token", vo)))
    assert record["GlobalUserName"] == CHEN
    assert (record.get("FQAN"), record["VO"], record["VOGroup"]) == expected
    assert record["InfrastructureType"] == "grid"


def test_a_job_of_nobody_who_is_known_is_a_local_one():
    (record,) = sent("job-v0.4", (job(), None))
    assert ("GlobalUserName" in record, record["VO"], record["InfrastructureType"]) == (False, "alice", "local")


def test_names_are_withheld_where_the_site_wants_that():
    (record,) = sent("job-v0.4", (job(), holder()), withhold=True)
    assert (record["GlobalUserName"], record["VO"]) == ("withheld", "cms")


def test_a_job_that_never_ran_or_still_runs_is_not_counted():
    assert apel.usage(job(start=None), holder(), SITE) is None
    assert apel.usage(job(end=None), holder(), SITE) is None


def test_without_a_benchmark_no_service_level_is_claimed():
    for kind in apel.HEADERS:
        (record,) = sent(kind, (job(), holder()), settings=PLAIN)
        assert "ServiceLevel" not in record


@pytest.mark.parametrize("kind", ["summary-v0.2", "summary-v0.4"])
def test_the_summary_of_a_month_is_the_sum_of_its_jobs(kind):
    last = NOVEMBER - SECOND
    jobs = [
        (job(total_cpu=1_400_000), holder()),
        (job(job="8", total_cpu=1_400_000, end=NOVEMBER + 7210 * SECOND), holder()),
        (job(job="9", start=last - SECOND, end=last), holder()),
        (job(job="10"), holder(CHEN, "", "token")),
    ]
    records = sent(kind, *jobs)
    by_person = {(record["Month"], record["GlobalUserName"]): record for record in records}
    assert set(by_person) == {(11, ANNA), (10, ANNA), (11, CHEN)}
    anna = by_person[11, ANNA]
    assert (anna["NumberOfJobs"], anna["CpuDuration"], anna["WallDuration"]) == (2, 3, 3600 + 7200)
    assert (anna["EarliestEndTime"], anna["LatestEndTime"]) == (1_793_494_810, 1_793_498_410)
    assert (anna["VORole"], anna["ServiceLevel"], anna["Year"]) == ("Role=pilot", 20.25, 2026)


def test_a_message_holds_a_thousand_records():
    used = [apel.usage(job(job=str(number)), holder(), SITE) for number in range(2001)]
    assert [len(read(message)) for message in apel.messages("job-v0.4", used, SITE, "EXAMPLE")] == [1000, 1000, 1]


@given(st.text(), st.text(), st.text(), st.text())
def test_no_name_ends_its_line_or_its_record(subject, fqan, queue, account):
    for kind in apel.HEADERS:
        (record,) = sent(kind, (job(queue=queue, account=account), holder(f"/CN={subject}", fqan)))
        assert record["Site"] == "EXAMPLE"
        assert record["CpuDuration"] == 3000


def test_a_forged_record_in_a_dn_stays_in_the_dn():
    evil = f"{ANNA}\n%%\nSite: OTHER\nLocalJobId: 1"
    (record,) = sent("job-v0.3", (job(), holder(evil)))
    assert "OTHER" in record["GlobalUserName"]


def test_the_class_of_nodes_is_the_first_that_fits():
    assert [SITE.class_of(node) for node in ("new1", "wn1")] == ["new", "old"]
    assert [SITE.value_of(name) for name in ("new", "old", "gone")] == [20.25, 15.5, 15.5]
    assert PLAIN.value_of("") is None
