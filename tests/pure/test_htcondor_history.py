"""HTCondor's history files: those in tests/data/htcondor-23.9 were written by its schedd on the test site."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting import classads, htcondor_history
from gridwarden.accounting.batch_records import Ignored, Job, Step
from gridwarden.accounting.classads import Ad, value_of
from gridwarden.accounting.htcondor_history import ATTRIBUTES, ROUTED, parse

RECORDED = Path(__file__).parent.parent / "data/htcondor-23.9"
ALONE = (RECORDED / "history.2.0").read_text(encoding="utf-8")


def entries(name: str) -> list[str]:
    *parts, rest = (RECORDED / name).read_text(encoding="utf-8").split("\n*** ")
    texts = [parts[0]] + [part.partition("\n")[2] for part in parts[1:]]
    banners = [part.partition("\n")[0] for part in (*parts[1:], rest)]
    return [f"{text}\n*** {banner}\n" for text, banner in zip(texts, banners, strict=True)]


def changed(text: str, **attributes: str) -> str:
    kept = [line for line in text.splitlines() if line.partition(" ")[0] not in attributes]
    return "\n".join([*(f"{name} = {value}" for name, value in attributes.items()), *kept])


def job(text: str) -> Job:
    found = parse(text)
    assert isinstance(found, Job)
    return found


def test_a_job_keeps_every_figure_that_exports_need():
    assert job(entries("history")[2]) == Job(
        batch="htcondor",
        cluster="localhost",
        job="1.0",
        submit=1795334044_000000,
        restart=0,
        account="alice",
        uid=None,
        start=1795334046_000000,
        end=1795334057_000000,
        state="COMPLETED",
        exit_code="3:0",
        user_cpu=3_000000,
        system_cpu=0,
        total_cpu=3_000000,
        nodes="localhost",
        stamp="",
        submit_host="localhost",
        cores=1,
        wall=11_000000,
        memory=3180 * 1024,
        slot="slot1_2",
    )


def test_killed_removed_and_never_started_jobs_are_all_there():
    found = [job(text) for text in entries("history")]
    assert [(each.job, each.state, each.exit_code, each.start is None) for each in found] == [
        ("3.0", "COMPLETED", "0:9", False),
        ("4.0", "COMPLETED", "0:0", False),
        ("1.0", "COMPLETED", "3:0", False),
        ("1.1", "COMPLETED", "3:0", False),
        ("2.0", "REMOVED", "0:15", False),
        ("5.0", "REMOVED", "", True),
    ]
    assert found[1].project == "cms.prod.alice"


def test_each_run_of_an_evicted_job_is_a_step_of_it():
    runs = [parse(text) for text in entries("epochs")]
    assert all(isinstance(run, Step) for run in runs)
    evicted = [run for run in runs if isinstance(run, Step) and run.job == "2.0"]
    assert [(run.step, run.start, run.end) for run in evicted] == [
        ("run 0", 1795334045_000000, 1795334057_000000),
        ("run 1", 1795334059_000000, 1795334066_000000),
    ]
    assert {run[:5] for run in evicted} == {job(ALONE)[:5]}


def test_the_file_of_one_job_says_what_the_history_of_all_says():
    assert job(ALONE) == job(entries("history")[4])


def test_cpu_time_is_that_of_all_runs_where_the_version_says_it():
    both = {"RemoteUserCpu": "5.0", "RemoteSysCpu": "1.0"}
    assert (
        job(changed(ALONE, **both, CumulativeRemoteUserCpu="42.5", CumulativeRemoteSysCpu="0.25")).total_cpu
        == 42_750000
    )
    old = "\n".join(line for line in ALONE.splitlines() if not line.startswith("Cumulative"))
    assert job(changed(old, **both)).total_cpu == 6_000000


def test_the_credential_that_the_job_declares_is_kept():
    proxy = changed(
        ALONE,
        x509userproxysubject='"/DC=org/CN=\\"Anna\\""',
        x509UserProxyFirstFQAN='"/cms/Role=production"',
        x509UserProxyVOName='"cms"',
    )
    found = job(proxy)
    assert (found.scheme, found.subject, found.fqan, found.vo) == (
        "x509", '/DC=org/CN="Anna"', "/cms/Role=production", "cms",
    )  # fmt: skip
    token = changed(ALONE, AuthTokenIssuer='"https://iam.example.org/"', AuthTokenSubject='"4f2c"')
    assert (job(token).scheme, job(token).subject) == ("token", "https://iam.example.org/,4f2c")


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\r", "\x0b", "\x1c"])
def test_a_users_own_words_forge_no_attribute_and_hide_no_job(end):
    forged = changed(
        ALONE, Note=f'"x{end}Owner = "root"{end}RemoteUserCpu = 0.0{end}CumulativeRemoteUserCpu = 0.0{end}y"'
    )
    assert job(forged) == job(ALONE)


def test_a_schedd_is_asked_for_all_that_is_read_of_an_ad_and_no_more(monkeypatch):
    class Watched(Ad):
        def _value(self, name):
            looked_at.add(name)
            return super()._value(name)

    looked_at: set[str] = set()
    monkeypatch.setattr(htcondor_history, "read", lambda lines: Watched(classads.read(lines)._expressions))
    alone = 'GlobalJobId = "ce#2.0#1"\nClusterId = 2\nProcId = 0\nQDate = 1\nJobStatus = 4\nExitBySignal = true\nOsUser = "x"'
    signer = 'x509userproxysubject = "/CN=x"\nGridJobId = "batch slurm slurm/20261122/4711"\nJobUniverse = 9'
    for text in (
        alone,
        ALONE,
        changed(ALONE, ExitBySignal="false"),
        f"{alone}\n{signer}",
        f"{alone}\nNumShadowStarts = 1\n*** EPOCH CurrentTime=1",
    ):
        parse(text)
    assert looked_at == set(ATTRIBUTES)


def test_an_owner_who_sets_another_account_or_that_the_job_ran_elsewhere_changes_nothing():
    for own in ({"OsUser": '"cms017"'}, {"JobUniverse": "9"}, {"RoutedToJobId": '"8.0"', "JobUniverse": "9"}):
        assert job(changed(ALONE, **own)) == job(ALONE)


def test_a_job_that_was_routed_is_none_although_it_has_the_figures_of_the_other():
    elsewhere = "\n".join(line for line in ALONE.splitlines() if not line.startswith("LastRemoteHost"))
    assert "NumShadowStarts" in elsewhere
    assert parse(changed(elsewhere, RoutedToJobId='"8.0"')) == Ignored(ROUTED)


def test_names_of_attributes_are_the_same_in_any_case():
    assert job(ALONE.replace("GlobalJobId", "GLOBALJOBID").replace("QDate", "qdate")) == job(ALONE)


@pytest.mark.parametrize("kind", ["INPUT", "OUTPUT", "CHECKPOINT", "SPAWN"])
def test_ads_of_file_transfers_are_known_and_no_faults(kind):
    banner = f'*** {kind} ClusterId=2 ProcId=0 RunInstanceId=0 Owner="bob" CurrentTime=1795334057'
    assert isinstance(parse(f"{ALONE}{banner}\n"), Ignored)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "GlobalJobId"),
        ("not an ad", "is not ATTRIBUTE"),
        (ALONE.replace("GlobalJobId", "Other"), "GlobalJobId"),
        (ALONE.replace('"localhost#2.0#1795334044"', "undefined"), "GlobalJobId"),
        (ALONE.replace('Owner = "bob"', "Owner = undefined"), "Owner or JobStatus"),
        (
            ALONE.replace("JobStatus = 3", "JobStatus = 99").replace("LastJobStatus = 99", "LastJobStatus = 2"),
            "JobStatus",
        ),
        (ALONE + "*** GUESS ClusterId=2 ProcId=0\n", "no ad is known of kind"),
    ],
)
def test_an_ad_that_is_odd_is_put_aside_with_the_reason(text, why):
    with pytest.raises(ValueError, match=why):
        parse(text)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("5", 5),
        ("-1", -1),
        ("0.009363268021421891", 0.009363268021421891),
        ("1E3", 1000.0),
        ('"a | b ; c=d \\"quoted\\""', 'a | b ; c=d "quoted"'),
        ('""', ""),
        (r'"/DC=org/CN=Jos\xC3\xA9 \"J\""', r'/DC=org/CN=Jos\xC3\xA9 "J"'),  # as 23.9.6 wrote it
        ('"ends with \\"', "ends with \\"),
        ("true", True),
        ("FALSE", False),
        ("undefined", None),
        ("((ResidentSetSize + 1023) / 1024)", None),
        ('"unfinished', None),
    ],
)
def test_a_literal_is_read_and_nothing_is_evaluated(expression, value):
    assert value_of(expression) == value
    assert type(value_of(expression)) is type(value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_text_in_quotes_is_read_back_as_it_was(text):
    escaped = text.replace('"', '\\"')
    assert value_of(f'"{escaped}"') == text


@given(st.sampled_from(ALONE.splitlines()), st.text(max_size=60))
def test_no_attribute_ends_the_reading_of_a_history(line, text):
    for odd in (ALONE.replace(line, text), ALONE.replace(line, f"{line.partition(' ')[0]} = {text}")):
        try:
            parse(odd)
        except ValueError:
            pass
