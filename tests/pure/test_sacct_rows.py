"""sacct's rows, as Slurm 24.11 printed them: tests/data/sacct-24.11.txt was recorded on the test site.

Its columns from Partition to Account, which were asked for later, hold what that site's jobs have there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.batch_records import Job, OddRow, Step
from gridwarden.accounting.sacct_rows import FIELDS, SEPARATOR, cpu_time, parse

RECORDED = (Path(__file__).parent.parent / "data/sacct-24.11.txt").read_text(encoding="utf-8").splitlines()
ROW = dict(zip(FIELDS, RECORDED[4].split(SEPARATOR), strict=True))


def row(**changes: str) -> str:
    return SEPARATOR.join({**ROW, **changes}.values())


def one(**changes: str) -> Job | Step | OddRow:
    (value,) = parse([row(**changes)])
    return value


def test_every_line_of_sacct_becomes_a_row_or_is_reported():
    values = list(parse(RECORDED))
    assert len(values) == len(RECORDED)
    odd = [value for value in values if isinstance(value, OddRow)]
    assert odd == [OddRow("newline", "1 fields instead of 20")]


def test_a_job_and_its_steps_keep_every_figure():
    values = list(parse(RECORDED))
    job, batch, first = values[0], values[2], values[3]
    assert job == Job(
        batch="slurm",
        cluster="site",
        job="1",
        submit=1795301533_000000,
        restart=0,
        account="alice",
        uid=2011,
        start=1795301535_000000,
        end=1795301538_000000,
        state="FAILED",
        exit_code="2:0",
        user_cpu=282_000,
        system_cpu=1_029_000,
        total_cpu=1_312_000,
        nodes="n1",
        stamp="stamp\x1fwith",
        queue="main",
        group_name="alice",
        project="",
        cores=1,
        wall=3_000_000,
    )
    assert (batch.step, batch.total_cpu, first.step, first.total_cpu) == ("batch", 1_311_000, "0", 1_000)
    assert batch[:5] == first[:5] == job[:5]


def test_a_job_that_was_requeued_is_two_jobs_with_their_own_cpu():
    runs = [value for value in parse(RECORDED) if isinstance(value, Job) and value.job == "3"]
    assert [(run.restart, run.state, run.total_cpu) for run in runs] == [
        (0, "REQUEUED", 1_004_000),
        (1, "RUNNING", 0),
    ]
    assert len({run[:5] for run in runs}) == 2
    steps = [value for value in parse(RECORDED) if isinstance(value, Step) and value.job == "3"]
    assert [step[:5] for step in steps] == [run[:5] for run in runs]


def test_runs_of_a_job_are_counted_where_slurm_does_not_count_them():
    lines = [row(Restarts="", State="REQUEUED"), row(JobIDRaw="99", Restarts=""), row(Restarts="")]
    assert [(value[2], value[4]) for value in parse(lines)] == [(ROW["JobIDRaw"], 0), ("99", 0), (ROW["JobIDRaw"], 1)]


def test_a_job_that_has_not_ended_has_no_end():
    assert [value.end for value in parse(RECORDED) if isinstance(value, Job) and value.job == "14"] == [None]


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("00:00:00", 0),
        ("00:01.312", 1_312_000),
        ("59:59.999", 3_599_999_000),
        ("01:00:00", 3_600_000_000),
        ("2-03:04:05", 183_845_000_000),
        ("100-00:00:00", 8_640_000_000_000),
    ],
)
def test_a_cpu_time_of_any_length_is_read_exactly(text, microseconds):
    assert cpu_time(text) == microseconds


@pytest.mark.parametrize("text", ["", "5", "1:2", "INVALID", "-1:00", "1-00:00", "00:01.", "\u0660\u0660:\u0660\u0661"])
def test_a_cpu_time_that_cannot_be_read_is_not_taken_for_none(text):
    with pytest.raises(ValueError, match="CPU time"):
        cpu_time(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"JobIDRaw": "4_[1-10]"},
        {"JobIDRaw": ""},
        {"Submit": "Unknown"},
        {"Submit": "2026-11-21T14:00:00"},
        {"Cluster": ""},
        {"State": "cancelled"},
        {"State": "CANCELLED+"},
        {"TotalCPU": "16?"},
        {"UserCPU": ""},
        {"Restarts": "many"},
        {"UID": "-2"},
        {"End": "1795301533.5"},
        {"JobIDRaw": "99.batch"},
    ],
)
def test_an_odd_row_is_kept_with_its_reason(changes):
    value = one(**changes)
    assert isinstance(value, OddRow)
    assert value.line == row(**changes)
    assert value.reason


@pytest.mark.parametrize(
    "state",
    ["COMPLETED", "CANCELLED by 45001", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL", "NODE_FAIL", "TIMEOUT", "PREEMPTED"],
)
def test_no_final_state_makes_a_job_disappear(state):
    value = one(State=state)
    assert isinstance(value, Job)
    assert value.state == state


def test_a_comment_with_the_separator_does_not_move_other_fields():
    value = one(AdminComment=f"a{SEPARATOR}b|c")
    assert isinstance(value, Job)
    assert (value.stamp, value.total_cpu) == (f"a{SEPARATOR}b|c", cpu_time(ROW["TotalCPU"]))


@given(st.text(st.characters(exclude_characters="\n")))
def test_no_line_stops_the_others(line):
    values = list(parse([line, RECORDED[4]]))
    assert len(values) == 2
    assert isinstance(values[1], Job)


def test_an_account_with_a_separator_in_it_forges_no_stamp():
    forged = one(Account=f"x{SEPARATOR}{'a' * 32}", AdminComment="")
    assert forged.stamp != "a" * 32
    assert (forged.project, forged.cores) == ("x", 1)
