"""Runs of jobs out of a ledger's records."""

from __future__ import annotations

from gridwarden.accounting.job_runs import OpenRuns

START = {
    "kind": "job_start", "time": 100, "boot": "one", "node": "n1", "cluster": "site", "batch": "slurm", "job": "7",
    "restart": 0, "account": "cms001", "uid": 2101, "lease": "a" * 32, "scheme": "x509", "subject": "/CN=Anna",
    "vo": "cms", "stamp": "", "evidence": "holder", "batch_start": None,
}  # fmt: skip
END = {**START, "kind": "job_end", "time": 200, "exit_code": "0:0"}


def runs(*bodies):
    folded = OpenRuns("ledger", [])
    for seq, body in enumerate(bodies, 1):
        folded.add(seq, body)
    return [(run.job, run.node, run.start, run.end, run.ended_by) for run in folded.changed.values()]


def test_a_job_lasts_from_its_start_to_its_end():
    assert runs(START, END) == [("7", "n1", 100, 200, "job_end")]
    assert runs(START) == [("7", "n1", 100, None, "")]


def test_the_end_on_one_node_does_not_end_the_job_on_another():
    assert runs(START, {**START, "node": "n2"}, END) == [("7", "n1", 100, 200, "job_end"), ("7", "n2", 100, None, "")]


def test_the_end_of_a_requeued_run_does_not_end_the_next():
    assert runs(START, {**START, "restart": 1, "time": 150}, END)[1] == ("7", "n1", 150, None, "")


def test_a_requeued_run_ends_although_slurm_counts_the_restart_before_its_epilog():
    requeued = {**END, "restart": 1}
    assert runs(START, requeued) == [("7", "n1", 100, 200, "job_end")]
    next_run = {**START, "restart": 1, "time": 300}
    assert runs(START, requeued, next_run, {**END, "restart": 1, "time": 400})[1] == ("7", "n1", 300, 400, "job_end")


def test_a_job_does_not_outlive_its_nodes_restart():
    reboot = {"kind": "question", "time": 300, "boot": "two"}
    assert runs(START, reboot, END) == [("7", "n1", 100, 300, "restart")]


def test_runs_go_on_across_two_collections():
    first = OpenRuns("ledger", [])
    first.add(1, START)
    second = OpenRuns("ledger", list(first.changed.values()))
    second.add(2, END)
    assert [(run.seq, run.end) for run in second.changed.values()] == [(1, 200)]


def test_a_record_that_cannot_be_believed_changes_nothing():
    assert runs(START, {}, END) == [("7", "n1", 100, 200, "job_end")]


def test_a_payload_is_a_run_of_its_own_beside_its_pilots_job():
    start = {**START, "kind": "payload_start", "payload": "c" * 32, "time": 120, "restart": 3}
    end = {**start, "kind": "payload_end", "time": 150}
    assert runs(START, start, end, END) == [("7", "n1", 100, 200, "job_end"), ("c" * 32, "n1", 120, 150, "payload_end")]
    assert runs(start, END) == [("c" * 32, "n1", 120, None, "")], "the end of the pilot's job says nothing of it"
