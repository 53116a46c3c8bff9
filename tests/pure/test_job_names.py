"""One job has one name, whether a node or its batch system's accounting names it."""

from __future__ import annotations

import pytest

from gridwarden.accounting.job_names import number, of_node


@pytest.mark.parametrize(
    ("batch", "job", "named"),
    [
        ("htcondor", "ce01.example.org#12.3#1795270920", ("htcondor", "ce01.example.org", "12.3")),
        ("htcondor", "pool@ce01.example.org#12.3#1795270920", ("htcondor", "pool@ce01.example.org", "12.3")),
        ("htcondor", "ce01.example.org#12.3#", ("htcondor", "ce01.example.org", "12.3")),
        ("htcondor", "odd name", ("htcondor", "site", "odd name")),
        ("pbs", "4711.pbs1.example.org", ("pbs", "pbs1.example.org", "4711")),
        ("torque", "4711[7].head", ("pbs", "head", "4711[7]")),
        ("pbs", "4711", ("pbs", "site", "4711")),
        ("slurm", "4711", ("slurm", "site", "4711")),
        ("payload", "a" * 32, ("payload", "site", "a" * 32)),
        ("", "", ("", "site", "")),
    ],
)
def test_a_nodes_name_of_a_job_is_that_of_the_batch_systems_accounting(batch, job, named):
    assert of_node(batch, "site", job) == named


def test_an_endless_name_delays_no_report():
    endless = f"1.{'a' * 60_000} "  # by root of a node
    assert of_node("pbs", "site", endless) == ("pbs", "site", endless)


def test_a_job_is_asked_for_by_any_of_its_names():
    asked = ["12.3", "ce#12.3#1", "4711.pbs1", "4711[7].pbs1", "4711", "a" * 32]
    assert [number(job) for job in asked] == ["12.3", "12.3", "4711", "4711[7]", "4711", "a" * 32]
