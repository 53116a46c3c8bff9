"""Which job a pilot of PBS, Torque or HTCondor is in, by what the node's own daemon says of its processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gridwarden import ledger, register
from gridwarden.hooks.pilot import job_of
from tests import batch_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

NODES = {"pbs": batch_nodes.PbsNode, "torque": batch_nodes.TorqueNode, "htcondor": batch_nodes.CondorNode}
JOBS = {"pbs": "0.pbshead", "torque": "0.pbshead", "htcondor": "localhost#1.0#1795311349"}


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[batch_nodes.BatchNode]:
    found = NODES[request.param](tmp_path)
    (tmp_path / "register").mkdir(mode=0o700)
    found.site |= {"prune_batch": [request.param], "register": [str(tmp_path / "register")]}
    yield found
    found.close()


def batch_of(node: batch_nodes.BatchNode) -> str:
    return node.site["prune_batch"][0]


def enter(node: batch_nodes.BatchNode, *jobs: str) -> None:
    for job in jobs:
        about = {"batch": batch_of(node), "cluster": "site", "node": "n1", "account": "pilot", "uid": batch_nodes.UID}
        entry = register.Entry(**about, job=job, restart=2, lease="", start=1, boot=ledger.boot_id())
        register.enter(node.site["register"][0], entry)


def found(node: batch_nodes.BatchNode, pid: int) -> tuple[str, str, int]:
    job = job_of.caller_job(node.site, "pilot", pid)
    return job.batch, job.job, job.restart


def test_a_payloads_record_names_its_pilots_job_though_no_hook_entered_that(node: batch_nodes.BatchNode) -> None:
    (pid,) = node.payload()
    assert found(node, pid) == (batch_of(node), JOBS[batch_of(node)], 0)


def test_of_several_jobs_of_one_pilot_the_record_names_the_one_that_calls(node: batch_nodes.BatchNode) -> None:
    enter(node, "another", JOBS[batch_of(node)])
    (pid,) = node.payload()
    assert found(node, pid) == (batch_of(node), JOBS[batch_of(node)], 2)


def test_a_daemon_that_does_not_answer_leaves_the_job_open_and_the_payload_in_one(
    node: batch_nodes.BatchNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_of, "ASK_SECONDS", 0.3)
    for program in node.programs.iterdir():
        program.unlink()
    (pid,) = node.payload()
    assert found(node, pid) == (batch_of(node), "", 0)


def test_who_made_itself_the_moms_child_in_a_session_of_its_own_is_in_no_job_by_name(tmp_path: Path) -> None:
    node = batch_nodes.PbsNode(tmp_path)
    try:
        node.site |= {"prune_batch": ["pbs"], "register": [str(tmp_path)]}
        pid = node.child("a process that made itself the mom's child")
        assert found(node, pid) == ("pbs", "", 0)
    finally:
        node.close()
