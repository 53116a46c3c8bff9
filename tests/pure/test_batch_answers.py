"""What batch systems print, and the control groups that they make, read to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gridwarden.batch import htcondor, pbs, question, slurm_listing, torque

LISTING = "PID      JOBID    STEPID   LOCALID GLOBALID\n441      1        0        0       0       \n402      1        batch    -       -       \n"
SLOTS = '"slot1@site"\t2\tundefined\tundefined\tundefined\n"slot1_1@site"\t2\t"site#1.0#1795311349"\t"1.0"\t"site"\n'
MOM = "\nHost: wn042/wn042   Version: 6.1.3   PID: 505\njob[7.head]  state=RUNNING sidlist=588,601\njob[8.head]  state=NEW\n\ndiagnostics complete\n\n"
PRINTED = (
    "----\njobid:\t7.head\n----\nstate:\t\t0x4\nqueue:\t\tworkq\nunion type mom:\n\tuid\t2101\n\n"
    "task file /jobs/7.head.TK/00000001\n\n\tparentjobid:\t7.head\n\ttask:\t\t1\n\tsid:\t\t588\n\texitstat:\t0\n"
    "task file /jobs/7.head.TK/00000002\n\n\tparentjobid:\t7.head\n\ttask:\t\t2\n\tsid:\t\t-601\n\texitstat:\t0\n"
)


@pytest.mark.parametrize(
    ("path", "job", "group"),
    [
        ("/slurm_n1/uid_2101/job_5/step_batch/task_0", "job_5", "/slurm_n1/uid_2101/job_5"),
        ("/system.slice/slurmstepd.scope/job_5/step_0/user", "job_5", "/system.slice/slurmstepd.scope/job_5"),
        ("/slurm/uid_2101/job_55/step_batch", "job_5", ""),
        ("/pbs_jobs.service/jobid/7.head", "7.head", "/pbs_jobs.service/jobid/7.head"),
        ("/torque/7.head/R0.t0", "7.head", "/torque/7.head"),
        ("/", "job_5", ""),
        ("", "job_5", ""),
    ],
)
def test_a_control_group_is_a_jobs_from_the_component_that_names_it(path: str, job: str, group: str) -> None:
    assert question.group_in(path, job.__eq__) == group


def test_each_batch_system_is_read_as_it_prints() -> None:
    listed = slurm_listing.parse(LISTING)
    assert [(each.pid, each.job, each.step, each.is_task) for each in listed or []] == [
        (441, "1", "0", True),
        (402, "1", "batch", False),
    ]
    slots = htcondor.parse_slots(SLOTS) or {}
    assert {slot: found.job for slot, found in slots.items()} == {"slot1": "", "slot1_1": "site#1.0#1795311349"}
    assert [(job.job, job.sessions) for job in torque.parse(MOM) or []] == [("7.head", {588, 601}), ("8.head", set())]
    assert [(job.job, job.sessions, job.owner) for job in pbs.parse(PRINTED) or []] == [("7.head", {588}, 2101)]


@pytest.mark.parametrize(
    ("declared", "number", "schedd", "job"),
    [
        ("s#1.0#5", "1.0", "s", "s#1.0#5"),
        ("s#99.0#5", "1.0", "s", "s#1.0#"),
        ("s#1.00#5", "1.0", "s", "s#1.0#"),
        ("t#1.0#5", "1.0", "s", "s#1.0#"),
        ("1.0", "1.0", "s", "s#1.0#"),
        ("undefined", "1.0", "s", "s#1.0#"),
        ("s#1.0#/5", "1.0", "s", "s#1.0#"),
        ("s#1.0#5x", "1.0", "s", "s#1.0#"),
        ("s#1.0#" + "5" * 300, "1.0", "s", "s#1.0#"),
        ("error", "1.0", "s", "s#1.0#"),
        ("s#99.0#5", "undefined", "s", "s#99.0#5"),
        ("undefined", "undefined", "undefined", ""),
    ],
)
def test_a_job_that_its_owner_has_given_another_number_is_known_by_its_own(declared, number, schedd, job) -> None:
    """As condor_qedit can; a startd without these attributes is believed as it speaks."""
    assert htcondor.SlotJob(declared, number, schedd).job == job


@pytest.mark.parametrize(
    ("numbers", "name"),
    [("0", "0"), ("4294967291", "batch"), ("4294967292", "extern"), ("4294967290", "interactive"), ("3.1", "3+1")],
)
def test_a_step_has_the_name_that_scontrol_gives_it(numbers: str, name: str) -> None:
    assert slurm_listing.step_name(numbers) == name


@pytest.mark.parametrize(
    ("parse", "whole"), [(slurm_listing.parse, LISTING), (htcondor.parse_slots, SLOTS), (torque.parse, MOM)]
)
def test_an_answer_that_was_cut_anywhere_never_reads_as_fewer_jobs(parse, whole) -> None:
    for end in range(len(whole.rstrip("\n"))):
        found = parse(whole[:end])
        # A list that ends with a whole line is for what it is compared with to unmask.
        assert found is None or (parse is slurm_listing.parse and whole[:end].endswith("\n"))


@given(some.text())
def test_no_text_is_taken_for_an_answer_by_accident(text: str) -> None:
    for parse in (slurm_listing.parse, htcondor.parse_slots, torque.parse):
        assert parse(text) is None
    assert not pbs.parse(text)
