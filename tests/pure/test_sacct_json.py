"""Output of sacct --json: of Slurm 22.05 and 24.11, each recorded from real daemons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.batch_records import Job, Step
from gridwarden.accounting.sacct_json import Reader, documents

DATA = Path(__file__).parent.parent / "data"
OLD = (DATA / "sacct-22.05.json").read_text(encoding="utf-8")
NEW = (DATA / "sacct-24.11.json").read_text(encoding="utf-8")


def rows(text: str) -> list[Job | Step]:
    reader = Reader()
    return [row for document in documents([text]) for row in reader.parse(document)]


def jobs(text: str) -> dict[str, Job]:
    return {row.job: row for row in rows(text) if isinstance(row, Job)}


def first(**changes: object) -> str:
    return json.dumps({**json.loads(NEW)["jobs"][0], **changes})


def test_cpu_time_of_a_job_is_that_of_its_steps_where_the_version_says_none():
    assert {job["time"]["total"]["microseconds"] for job in json.loads(OLD)["jobs"]} == {0}
    assert {number: job.total_cpu for number, job in jobs(OLD).items()} == {
        "1": 476770, "2": 1669, "3": 1752, "4": 13832, "5": 0, "7": 483424, "8": 1559,
    }  # fmt: skip


def test_cpu_time_of_a_job_is_its_own_where_the_version_says_it():
    assert {number: job.total_cpu for number, job in jobs(NEW).items()} == {
        "1": 295733, "2": 1980, "3": 2126, "4": 21758, "5": 0, "6": 275864,
    }  # fmt: skip


def test_every_figure_of_a_job_and_its_steps_is_kept():
    found = rows(NEW)
    job = next(row for row in found if isinstance(row, Job) and row.job == "4")
    assert job == Job(
        batch="slurm",
        cluster="site",
        job="4",
        submit=1795334074_000000,
        restart=0,
        account="alice",
        uid=None,
        start=1795334077_000000,
        end=1795334079_000000,
        state="COMPLETED",
        exit_code="0:0",
        user_cpu=4676,
        system_cpu=17082,
        total_cpu=21758,
        nodes="n1",
        stamp="",
        name="wrap",
        queue="main",
        group_name="alice",
        cores=1,
        wall=2_000000,
        memory=11612160,
    )
    steps = [row for row in found if isinstance(row, Step) and row.job == "4"]
    assert [(step.step, step.total_cpu, step.nodes) for step in steps] == [("batch", 19023, "n1"), ("0", 2735, "n1")]
    assert {step[:5] for step in steps} == {job[:5]}


def test_tasks_of_arrays_and_parts_of_het_jobs_are_jobs_of_their_own():
    assert sorted(jobs(NEW)) == ["1", "2", "3", "4", "5", "6"]
    assert jobs(NEW)["6"].name == "odd|name"
    assert [jobs(NEW)[part].nodes for part in ("4", "5")] == ["n1", "n2"]


def test_a_job_that_was_requeued_is_told_from_its_next_run_where_the_version_does_not_count():
    document = json.loads(OLD)
    run = next(job for job in document["jobs"] if job["state"]["current"] == "REQUEUED")
    again = {**run, "state": {"current": "COMPLETED", "reason": "None"}}
    found = [row for row in rows(json.dumps({"jobs": [run, again]})) if isinstance(row, Job)]
    assert [(row.restart, row.state) for row in found] == [(0, "REQUEUED"), (1, "COMPLETED")]


@pytest.mark.parametrize(
    "state", ["COMPLETED", "CANCELLED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL", "NODE_FAIL", "TIMEOUT", "PREEMPTED"]
)
def test_no_final_state_makes_a_job_disappear(state):
    (job, *_) = Reader().parse(first(state={"current": [state], "reason": "None"}))
    assert job.state == state


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "4"},
        {"job_id": -1},
        {"job_id": True},
        {"cluster": ""},
        {"time": {}},
        {"steps": None},
        {"steps": [{}]},
        {"state": {"current": [], "reason": "None"}},
        {"restart_cnt": 1.5},
    ],
)
def test_a_job_that_is_odd_is_put_aside_with_the_reason(changes):
    with pytest.raises(ValueError, match=r"."):
        Reader().parse(first(**changes))


SMALL = json.dumps(
    {"meta": {}, "jobs": [{"job_id": 1, "name": "]}, {"}, {"job_id": 2, "steps": [{}, {}]}], "errors": []}
)


@given(size=st.integers(1, len(SMALL)))
def test_a_file_is_read_the_same_in_pieces_of_any_size(size):
    whole = list(documents([SMALL]))
    assert [json.loads(document)["job_id"] for document in whole] == [1, 2]
    assert list(documents(SMALL[at : at + size] for at in range(0, len(SMALL), size))) == whole


@given(st.integers(0, SMALL.rindex("]", 0, SMALL.index("errors"))))
def test_a_file_that_was_cut_short_gives_what_it_has_and_says_so(length):
    found = []
    with pytest.raises(ValueError, match=r"cut short|no list of jobs"):
        found.extend(documents([SMALL[:length]]))
    assert found == list(documents([SMALL]))[: len(found)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_value_of_json_ends_the_reading(value):
    for text in (json.dumps(value), first(time=value), first(steps=[value]), first(tres=value), first(exit_code=value)):
        try:
            Reader().parse(text)
        except ValueError:
            pass
