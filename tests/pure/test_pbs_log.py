"""Accounting logs of OpenPBS and Torque: tests/data/openpbs-23.06.log was written by the real server."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gridwarden.accounting.batch_records import Ignored, Job
from gridwarden.accounting.pbs_log import IGNORED, cpu_time, fields_of, parse

RECORDED = (Path(__file__).parent.parent / "data/openpbs-23.06.log").read_text(encoding="utf-8").splitlines()
ENDED = next(line for line in RECORDED if ";E;2004.pbshead;" in line)
MESSAGE = ENDED.split(";", 3)[3]
TORQUE = (
    "11/21/2026 10:00:00;E;17.torque.example.org;user=cms001 group=cms account=my project jobname=STDIN queue=grid "
    "ctime=1795250000 qtime=1795250000 etime=1795250000 start=1795250100 owner=cms001@ce.example.org "
    "exec_host=n1/0+n1/1+n2/3 Resource_List.neednodes=2 Resource_List.walltime=72:00:00 session=4711 "
    "total_execution_slots=3 unique_node_count=2 end=1795253700 Exit_status=271 resources_used.cput=29:30:01 "
    "resources_used.mem=1048576kb resources_used.vmem=2gb resources_used.walltime=00:59:58"
)


def recorded() -> list[Job | Ignored]:
    return [parse(line) for line in RECORDED]


def runs_of(number: str) -> list[Job]:
    return [found for found in recorded() if isinstance(found, Job) and found.job == number]


def reason(line: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(line)
    return str(caught.value)


def test_every_line_of_a_real_log_is_a_run_or_known_to_be_none():
    found = Counter(each.because if isinstance(each, Ignored) else each.state for each in recorded())
    assert found == {
        "started": 90, "queued": 28, "asked to be deleted": 5, "altered": 4, "array as a whole": 1,
        "ENDED": 26, "REQUEUED": 18,
    }  # fmt: skip


def test_a_run_keeps_every_figure_and_a_value_with_a_blank():
    assert parse(ENDED) == Job(
        batch="pbs",
        cluster="pbshead",
        job="2004",
        submit=1795295935_000000,
        restart=0,
        account="pool001",
        uid=None,
        start=1795295986_000000,
        end=1795295990_000000,
        state="ENDED",
        exit_code="0",
        user_cpu=0,
        system_cpu=0,
        total_cpu=0,
        nodes="pbshead",
        stamp="",
        name="pooljob",
        queue="workq",
        group_name="atlas",
        project="atlas prod",
        cores=1,
        wall=2_000000,
        memory=1420 * 1024,
        fields=MESSAGE,
    )


def test_a_job_that_was_requeued_is_a_run_for_each_time_with_its_own_cpu():
    runs = runs_of("1010")
    assert [run.state for run in runs] == ["REQUEUED"] * (len(runs) - 1) + ["ENDED"]
    assert [run.restart for run in runs] == list(range(len(runs)))
    assert len({run[:5] for run in recorded() if isinstance(run, Job)}) == 44


def test_tasks_of_an_array_are_jobs_and_the_array_is_none():
    assert [run.total_cpu for run in (*runs_of("2003[1]"), *runs_of("2003[2]"))] == [0, 0]
    assert runs_of("2003[]") == []


def test_cpu_time_is_what_the_server_wrote():
    assert [run.total_cpu for number in ("2000", "2001") for run in runs_of(number)] == [12_000000, 11_000000]


def test_a_field_that_a_hook_added_is_kept():
    (run,) = runs_of("1002")
    assert fields_of(run.fields)["resources_used.gridacct"] == "epi-val"
    assert fields_of(run.fields)["accounting_id"] == "ACCID-DN1"


def test_torque_is_read_with_its_unquoted_account_its_slots_and_its_submit_host():
    run = parse(TORQUE)
    assert isinstance(run, Job)
    assert (run.cluster, run.job, run.restart) == ("torque.example.org", "17", 100)
    assert (run.project, run.nodes, run.cores, run.submit_host) == ("my project", "n1,n2", 3, "ce.example.org")
    assert (run.total_cpu, run.wall, run.memory) == (106_201_000000, 3598_000000, 1 << 30)
    again = parse(TORQUE.replace("start=1795250100", "start=1795253800").replace("end=1795253700", "end=1795253900"))
    assert isinstance(again, Job)
    assert again[:5] != run[:5]


def test_a_job_that_was_deleted_as_it_was_about_to_begin_never_ran_and_not_since_1970():
    (line,) = (line for line in RECORDED if " start=0 " in line)
    assert (parse(line).start, parse(line).wall_time, parse(line).end) == (None, 0, 1795295639_000000)
    deleted = parse(TORQUE.replace("start=1795250100", "start=0"))
    assert (deleted.start, deleted.restart) == (None, 0)


@pytest.mark.parametrize("account", ["", "account=cms ", "account=my project "])
@pytest.mark.parametrize("asked", ["", "Resource_List.nodes=2:ppn=1 "])
def test_a_record_of_torque_that_is_matched_whole_says_what_it_says_field_by_field(account, asked):
    line = TORQUE.replace("account=my project ", account).replace("session=", f"{asked}session=")
    whole, apart = parse(line), parse(f"{line} resources_used.energy_used=0 unknown=1")
    assert whole._replace(fields="") == apart._replace(fields="")
    assert (whole.cores, whole.submit_host, whole.project) == (3, "ce.example.org", account[8:].strip())


def test_a_requeue_that_torque_writes_without_figures_is_no_fault():
    assert isinstance(parse("11/21/2026 10:00:00;R;17.torque;"), Ignored)


@pytest.mark.parametrize("kind", sorted(IGNORED))
def test_every_other_record_of_the_server_is_known(kind):
    assert parse(f"11/21/2026 10:00:00;{kind};license;floating license hour:3 day:4") == Ignored(IGNORED[kind])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "is not TIME"),
        ("garbage", "is not TIME"),
        ("21.11.2026;E;1.a;user=a", "does not begin with a time"),
        (ENDED.replace(";E;", ";?;"), "no record is known of type"),
        (ENDED.replace("end=", "fin="), "end is missing"),
        (ENDED.replace("user=pool001 ", ""), "user is missing"),
        (ENDED.replace("start=1795295986", "start=soon"), "not a number"),
        (ENDED.replace("start=1795295986", "start=-1"), "not a number"),
        (ENDED.replace("start=1795295986", "start=" + "9" * 40), "not a number that can be"),
        (ENDED.replace("cput=00:00:00", "cput=1e3"), "not a time of HOURS"),
        (ENDED.replace("cput=00:00:00", "cput=-1:00:00"), "not a time of HOURS"),
        (ENDED.replace("mem=1420kb", "mem=lots"), "not an amount of memory"),
        (ENDED.replace("2004.pbshead", "2004"), "is not NUMBER.SERVER"),
        (ENDED + " end=1", "'end' stands twice"),
    ],
)
def test_a_line_that_is_odd_is_put_aside_with_the_reason(line, why):
    assert why in reason(line)


@pytest.mark.parametrize(
    "account",
    [
        'x" end=1795295987 resources_used.cput=00:00:00 y="z',
        'x" user=root y="',
        '" run_count=9 a="',
    ],
)
def test_an_account_that_closes_its_quotes_changes_no_figure(account):
    assert "stands twice" in reason(ENDED.replace("atlas prod", account))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n;"), max_size=40))
@example('" end=1 ')
@example("' end=1 ")
@example('"')
@example('a "b" c')
def test_whatever_an_account_is_called_no_figure_is_another_or_the_line_is_put_aside(account):
    true = parse(ENDED)
    try:
        found = parse(ENDED.replace("atlas prod", account))
    except ValueError:
        return
    assert isinstance(found, Job)
    assert isinstance(true, Job)
    assert found._replace(project="", fields="") == true._replace(project="", fields="")


@given(
    st.sampled_from([line for line in RECORDED if line[20] in "ER" and "[]" not in line]),
    st.text(st.sampled_from("aZ09 .:=+/*'\"-"), max_size=12).map(str.strip),  # Torque itself ends lines with a blank
    st.sampled_from(["user", "account", "project", "jobname", "queue", "exec_host", "Exit_status", "run_count", "end"]),
)
def test_a_record_says_the_same_with_something_out_of_the_ordinary_behind_it(line, value, key):
    quote = '"' if key == "account" else ""
    line = re.sub(rf' {key}=("[^"]*"|\S+)', lambda _: f" {key}={quote}{value}{quote}", line, count=1)
    found = []
    for text in (line, f"{line} unheard.of=1"):
        try:
            found.append(parse(text))
        except ValueError:
            found.append(None)
    one, other = found
    assert (one is None) == (other is None)
    if isinstance(one, Job) and isinstance(other, Job):
        assert one._replace(fields="") == other._replace(fields="")
    assert "unheard.of=1" not in str(one)


WORD = st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"], exclude_characters="\"'"), min_size=1)
KEY = st.from_regex(r"[A-Za-z_]+(\.[a-z_]+)?", fullmatch=True)


def written(value: str) -> str:
    """As OpenPBS's cpy_quote_value does."""
    if " " not in value:
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'


@given(st.dictionaries(KEY, st.lists(WORD, min_size=1, max_size=4).map(" ".join), min_size=1))
def test_what_the_server_quotes_is_read_back_as_it_was(fields):
    line = " ".join(f"{key}={written(value)}" for key, value in fields.items())
    assert fields_of(line) == fields


@given(st.dictionaries(KEY, st.lists(WORD, min_size=2, max_size=4).map('"'.join), min_size=1))
def test_a_value_with_a_blank_and_a_double_quote_is_read_from_single_ones(fields):
    fields = {key: f"{value} x" for key, value in fields.items()}
    assert fields_of(" ".join(f"{key}={written(value)}" for key, value in fields.items())) == fields


@given(st.integers(0, 999_999), st.integers(0, 59), st.integers(0, 59))
def test_times_of_many_hours_are_exact(hours, minutes, seconds):
    assert cpu_time(f"{hours:02}:{minutes:02}:{seconds:02}") == ((hours * 60 + minutes) * 60 + seconds) * 1_000_000


@given(st.text(max_size=200))
def test_no_text_ends_the_reading_of_a_log(text):
    for line in (text, f"11/21/2026 10:00:00;E;1.a;{text}"):
        try:
            parse(line)
        except ValueError:
            pass
