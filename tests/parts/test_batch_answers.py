"""Each question that is put to a batch system on a node, answered well and in each way that must not be believed."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gridwarden import proc
from gridwarden.batch import mom, question
from tests.batch_nodes import NODES, UID, BatchNode, CondorNode, MomNode, RegisterNode, SlurmNode, TorqueNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

HANG = "exec sleep 60"
PROGRAMS = ("scontrol", "condor_config_val", "condor_status", "printjob", "momctl")


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Keeps open what a broken answer needs."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BatchNode]:
    for parent in (tmp_path, *tmp_path.parents):  # pytest keeps its directories to root
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    made = NODES[request.param](tmp_path)
    yield made
    made.close()


def without(program: str) -> Callable[[BatchNode, ExitStack], None]:
    return lambda node, _: (node.programs / program).unlink()


def hanging(program: str) -> Callable[[BatchNode, ExitStack], None]:
    return lambda node, _: node.program(program, HANG)


def saying(program: str, text: Callable[[BatchNode], str], code: int = 0) -> Callable[[BatchNode, ExitStack], None]:
    return lambda node, _: node.says(program, text(node), code)


def stuck_listener(node: SlurmNode, held: ExitStack) -> None:
    """A slurmstepd that takes no connection, with more waiting already than it queues."""
    path = f"{node.spool}/n1_10.0"
    listener = held.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen(0)
    for _ in range(2):
        waiting = held.enter_context(socket.socket(socket.AF_UNIX))
        waiting.settimeout(0)
        waiting.connect_ex(path)


def no_sockets(node: SlurmNode, _: ExitStack) -> None:
    for path in node.spool.iterdir():
        path.unlink()


def stopped_daemon(place: int) -> Callable[[BatchNode, ExitStack], None]:
    def stop(node: BatchNode, _: ExitStack) -> None:
        node.daemons[place].kill()
        node.daemons[place].wait()

    return stop


SLURM = {
    "the spool is not there": lambda node, _: node.spool.parent.rename(node.base / "elsewhere"),
    "the spool is another node's kind": lambda node, _: node.spool.rmdir() if no_sockets(node, _) else None,
    "the spool hangs": stuck_listener,
    "the spool shows half": lambda node, _: (node.spool / "n1_9.0").unlink(),
    "the spool shows nothing": no_sockets,
    "scontrol is not there": without("scontrol"),
    "scontrol fails": saying("scontrol", lambda _: "scontrol: fatal: cannot read slurm.conf\n", 1),
    "scontrol hangs": hanging("scontrol"),
    "scontrol prints half a line": saying("scontrol", lambda node: node.listing[:-30]),
    "scontrol prints half the lines": saying(
        "scontrol", lambda node: "".join(node.listing.splitlines(keepends=True)[:2])
    ),
    "scontrol is killed half-way": saying("scontrol", lambda node: node.listing, 137),
    "scontrol prints nothing": saying("scontrol", lambda _: ""),
    "scontrol sees no steps": saying("scontrol", lambda _: "No job steps exist on this node.\n", 1),
    "scontrol sees no spool": saying(
        "scontrol",
        lambda _: "scontrol: error: Domain socket directory /x: No such file\nNo job steps exist on this node.\n",
        1,
    ),
    "scontrol meets a dead step that the spool does not show": saying(
        "scontrol", lambda _: "Unable to connect to slurmstepd: Connection refused\n", 1
    ),
}
HTCONDOR = {
    "condor_config_val is not there": without("condor_config_val"),
    "condor_config_val fails": saying("condor_config_val", lambda _: "Not defined: STARTD_ADDRESS_FILE\n", 1),
    "condor_config_val hangs": hanging("condor_config_val"),
    "condor_config_val prints half": saying("condor_config_val", lambda node: str(node.address)[:-3]),
    "condor_config_val prints nothing": saying("condor_config_val", lambda _: ""),
    "the address is not there": lambda node, _: node.address.unlink(),
    "the address is a pipe that hangs": lambda node, _: (node.address.unlink(), os.mkfifo(node.address)),
    "the address is half written": lambda node, _: node.address.write_text("<127.0.0.1:19"),
    "the address is empty": lambda node, _: node.address.write_text(""),
    "the address is anybody's to write": lambda node, _: node.address.chmod(0o666),
    "condor_status is not there": without("condor_status"),
    "condor_status fails": saying("condor_status", lambda _: "Error: Failed to contact startd\n", 1),
    "condor_status hangs": hanging("condor_status"),
    "condor_status prints half a line": saying("condor_status", lambda node: node.slots[:-8]),
    "condor_status prints half the slots": saying(
        "condor_status", lambda node: "".join(node.slots.splitlines(keepends=True)[:2])
    ),
    "condor_status prints one slot twice": saying(
        "condor_status", lambda node: node.slots.splitlines(keepends=True)[0] * 3
    ),
    "condor_status is killed half-way": saying("condor_status", lambda node: node.slots, 137),
    "condor_status prints nothing": saying("condor_status", lambda _: ""),
    "somebody else answers for the startd": stopped_daemon(0),
    "a slot has a job that no starter runs": saying(
        "condor_status",
        lambda node: node.slots.replace(
            '_2@localhost"\t3\tundefined\tundefined', '_2@localhost"\t3\t"localhost#2.0#1"\t"2.0"'
        ),
    ),
}
PBS = {
    "the jobs are not there": lambda node, _: shutil.rmtree(node.jobs),
    "the jobs are half there": lambda node, _: (node.jobs / "0.pbshead.JB").rename(node.jobs / "1.pbshead.JB"),
    "printjob is not there": without("printjob"),
    "printjob fails": saying("printjob", lambda _: "couldnot load conf file\n", 1),
    "printjob hangs": hanging("printjob"),
    "printjob prints half a line": saying("printjob", lambda node: node.printed[:-5]),
    "printjob prints half a task": saying("printjob", lambda node: node.printed.partition("\tsid:")[0]),
    "printjob prints a job without its end": saying("printjob", lambda node: node.printed.partition("file base")[0]),
    "printjob is killed half-way": saying("printjob", lambda node: node.printed, 137),
    "printjob prints nothing": saying("printjob", lambda _: ""),
    "printjob prints half the tasks": lambda node, _: (node.jobs / "0.pbshead.TK" / "00000002").touch(),
    "printjob knows no task": saying("printjob", lambda node: node.printed.partition("task file")[0]),
}
TORQUE = {
    "the jobs are not there": lambda node, _: shutil.rmtree(node.jobs),
    "momctl is not there": without("momctl"),
    "momctl cannot connect": saying(
        "momctl", lambda _: "cannot connect to MOM on node 'localhost', errno=111 (Connection refused)\n", 1
    ),
    "momctl hangs": hanging("momctl"),
    "momctl prints half": saying("momctl", lambda node: node.told.partition("\ndiagnostics")[0]),
    "momctl prints half a list": saying(
        "momctl", lambda node: node.told.replace(f"{node.session}", f"{node.session},x")
    ),
    "momctl is killed half-way": saying("momctl", lambda node: node.told, 137),
    "momctl prints nothing": saying("momctl", lambda _: ""),
    "momctl knows of no job": saying("momctl", lambda node: node.idle),
    "momctl leaves the jobs out": saying("momctl", lambda _: "\ndiagnostics complete\n"),
}
REGISTER = {
    "the register is not there": lambda node, _: shutil.rmtree(node.register),
    "an entry is half written": lambda node, _: node.entry.write_bytes(node.entry.read_bytes()[:40]),
    "an entry is empty": lambda node, _: node.entry.write_bytes(b""),
    "an entry is a pipe that hangs": lambda node, _: (node.entry.unlink(), os.mkfifo(node.entry)),
    "an entry is anybody's to write": lambda node, _: node.entry.chmod(0o666),
}
FAILURES = [
    (system, name, failure)
    for system, failures in (
        ("slurm", SLURM), ("htcondor", HTCONDOR), ("pbs", PBS), ("torque", TORQUE), ("register", REGISTER)
    )
    for name, failure in failures.items()
]  # fmt: skip


@pytest.mark.parametrize(
    ("node", "name", "failure"),
    FAILURES,
    ids=[f"{system}: {name}" for system, name, _ in FAILURES],
    indirect=["node"],
)
def test_what_is_not_a_whole_answer_is_unknown_and_never_no_jobs(
    node: BatchNode, name: str, failure: Callable[[BatchNode, ExitStack], object], held: ExitStack
) -> None:
    assert node.ask().unknown == ""
    failure(node, held)
    hangs = name.removesuffix(" hangs") in PROGRAMS
    answer = node.ask(0.5 if hangs else 10)
    assert answer.unknown
    assert answer.unknown.isprintable()
    assert ("did not answer in time" in answer.unknown) == hangs
    assert answer.jobs == []


@pytest.mark.parametrize("node", ["slurm"], indirect=True)
def test_a_slurm_job_is_known_by_its_slurmstepds_and_their_sessions(node: SlurmNode) -> None:
    (job,) = node.ask().jobs
    assert (job.batch, job.job, job.node, job.owner) == ("slurm", "9", "n1", UID)
    assert job.roots == {pid: proc.read(pid).start for pid in (daemon.pid for daemon in node.daemons)}
    assert job.sessions == {daemon.pid for daemon in node.daemons}


@pytest.mark.parametrize("node", ["slurm"], indirect=True)
def test_a_dead_slurmstepd_hides_no_living_one(node: SlurmNode) -> None:
    node.daemons[1].kill()
    node.daemons[1].wait()
    node.says("scontrol", "Unable to connect to slurmstepd: Connection refused\n", 1)
    answer = node.ask()
    assert answer.unknown == ""
    assert [list(job.roots) for job in answer.jobs] == [[node.daemons[0].pid]]


@pytest.mark.parametrize("node", ["slurm"], indirect=True)
def test_a_step_whose_processes_have_ended_keeps_nobody_from_an_answer(node: SlurmNode) -> None:
    os.kill(node.payload()[1], 9)
    node.says(
        "scontrol", "".join(line for line in node.listing.splitlines(keepends=True) if " 9        0 " not in line)
    )
    assert node.ask().unknown == ""


@pytest.mark.parametrize("node", ["slurm"], indirect=True)
def test_a_node_without_a_job_has_a_known_answer(node: SlurmNode) -> None:
    for path in node.spool.iterdir():
        path.unlink()
    node.says("scontrol", "No job steps exist on this node.\n", 1)
    answer = node.ask()
    assert (answer.unknown, answer.jobs) == ("", [])


@pytest.mark.parametrize("node", ["htcondor"], indirect=True)
def test_an_htcondor_job_is_known_by_its_starter(node: CondorNode) -> None:
    (job,) = node.ask().jobs
    assert (job.batch, job.job, job.owner) == ("htcondor", "localhost#1.0#1795311349", UID)
    assert job.roots == {node.starter: proc.read(node.starter).start}


@pytest.mark.parametrize("node", ["htcondor"], indirect=True)
def test_a_starter_that_the_startd_has_forgotten_still_runs_a_job(node: CondorNode) -> None:
    node.says("condor_status", node.slots.replace('"localhost#1.0#1795311349"\t"1.0"', "undefined\tundefined"))
    (job,) = node.ask().jobs
    assert list(job.roots) == [node.starter]


@pytest.mark.parametrize("node", ["htcondor"], indirect=True)
def test_a_starter_of_no_slot_runs_a_job_too_as_that_of_the_local_universe(node: CondorNode) -> None:
    starter = node.daemon("condor_starter", "-local-name", "x")
    answer = node.ask()
    assert answer.unknown == ""
    assert [list(job.roots) for job in answer.jobs] == [[node.starter], [starter]]
    assert [job.owner for job in answer.jobs] == [UID, UID]


@pytest.mark.parametrize("node", ["htcondor"], indirect=True)
def test_an_upgraded_starter_still_runs_its_job(node: CondorNode) -> None:
    (node.base / "sbin" / "condor_starter").unlink()
    (job,) = node.ask().jobs
    assert list(job.roots) == [node.starter]


@pytest.mark.parametrize("node", ["pbs", "torque"], indirect=True)
def test_a_job_of_a_mom_is_known_by_its_session_also_once_the_mom_has_gone(node: MomNode) -> None:
    session = node.session
    for mom_runs in (True, False):
        (job,) = node.ask().jobs
        assert (job.job, job.owner, job.sessions) == ("0.pbshead", UID, {session})
        assert job.roots == {session: proc.read(session).start}
        if mom_runs:
            node.daemons[0].kill()
            node.daemons[0].wait()
    os.kill(session, 9)


def without_job(node: MomNode) -> None:
    node.forget()
    if isinstance(node, TorqueNode):
        node.says("momctl", node.idle)


@pytest.mark.parametrize("node", ["pbs", "torque"], indirect=True)
@pytest.mark.parametrize(
    "how",
    [
        "a process that made itself the mom's child",
        "a task that is not on record yet",
        "a task whose file has the mom's path in its own mount namespace",
    ],
)
def test_a_mom_that_runs_what_is_no_jobs_puts_its_user_in_doubt_for_a_while_and_nobody_else(
    node: MomNode, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = proc.read(node.child(how))
    assert child.pid == child.session
    answer = node.ask()
    assert (answer.unknown, list(answer.doubted), answer.strangers) == ("", [UID], {})
    assert f"session {child.pid}" in answer.doubted[UID]
    assert [job.job for job in answer.jobs] == ["0.pbshead"]
    monkeypatch.setattr(mom, "ADMISSION_SECONDS", 0)
    answer = node.ask()
    assert (answer.unknown, answer.doubted, answer.strangers) == ("", {}, {child.pid: child.start})


@pytest.mark.parametrize("node", ["torque"], indirect=True)
def test_a_doubt_that_somebody_keeps_up_costs_each_look_one_more_question_and_no_more(node: TorqueNode) -> None:
    node.child("a task that is not on record yet")
    node.program("momctl", f"echo >> {node.base}/asked; cat {node.base}/momctl.txt")
    assert node.ask().doubted
    assert (node.base / "asked").read_text() == "\n" * 2


@pytest.mark.parametrize("node", ["pbs", "torque"], indirect=True)
def test_a_job_that_its_mom_forgot_is_in_doubt_before_its_processes_are_anybodys(node: MomNode) -> None:
    without_job(node)
    answer = node.ask()
    assert (answer.unknown, answer.jobs, list(answer.doubted)) == ("", [], [UID])


@pytest.mark.parametrize("node", ["pbs", "torque"], indirect=True)
@pytest.mark.parametrize(
    "how", ["a task before its program", "the mom's own copying", "the program that copies for the mom"]
)
def test_what_a_mom_does_itself_as_a_user_may_take_as_long_as_it_likes(
    node: MomNode, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.child(how)
    monkeypatch.setattr(mom, "ADMISSION_SECONDS", 0)
    answer = node.ask()
    assert (answer.unknown, answer.doubted, answer.strangers) == ("", {}, {})


@pytest.mark.parametrize("node", ["torque"], indirect=True)
def test_a_job_whose_session_momctl_does_not_know_may_be_anybodys(node: TorqueNode) -> None:
    node.says("momctl", node.told.replace(f"sidlist={node.session}", "sidlist="))
    answer = node.ask()
    (job,) = answer.jobs
    assert (job.owner, job.roots, job.sessions, list(answer.doubted)) == (None, {}, frozenset(), [UID])


@pytest.mark.parametrize("node", ["torque"], indirect=True)
@pytest.mark.parametrize(
    ("job", "file"),
    [
        ("7[12].pbshead", "7-12.pbshead"),
        ("7[12]", "7-12"),
        (f"7.{'x' * 80}", f"7.{'x' * 59}"),
        ("7.a-b[c]", "7.a-b[c]"),
    ],
)
def test_a_torque_job_is_found_in_its_file_whatever_that_is_called(node: TorqueNode, job: str, file: str) -> None:
    (node.jobs / "0.pbshead.JB").rename(node.jobs / f"{file}.JB")
    node.says("momctl", node.told.replace("0.pbshead", job))
    answer = node.ask()
    assert (answer.unknown, [each.job for each in answer.jobs]) == ("", [job])


@pytest.mark.parametrize("node", ["torque"], indirect=True)
def test_a_torque_job_whose_files_are_copied_for_hours_leaves_nobody_in_doubt(node: TorqueNode) -> None:
    os.kill(node.session, 9)
    over = node.told.replace(f"state=RUNNING sidlist={node.session}", "state={state} sidlist=")
    for state, known in (("EXITED", 0), ("OBIT", 0), ("RUNNING", 1), ("PRERUN", 1)):
        node.says("momctl", over.format(state=state))
        answer = node.ask()
        assert (answer.unknown, len(answer.jobs)) == ("", known)


@pytest.mark.parametrize("node", ["torque"], indirect=True)
def test_a_mom_without_a_job_has_a_known_answer(node: TorqueNode) -> None:
    os.kill(node.session, 9)
    without_job(node)
    answer = node.ask()
    assert (answer.unknown, answer.jobs) == ("", [])


@pytest.mark.parametrize("node", ["register"], indirect=True)
def test_the_register_says_whose_a_job_is_and_forgets_it_with_a_restart(node: RegisterNode) -> None:
    (job,) = node.ask().jobs
    assert (job.batch, job.job, job.node, job.owner, job.roots) == ("slurm", "9", "n1", UID, {})
    boot = node.entry.read_text().rpartition("boot\t")[2]
    node.entry.write_text(node.entry.read_text().replace(boot, "another\n"))
    assert node.ask().jobs == []


def test_who_is_banned_at_once_keeps_no_cron_job() -> None:
    """With ScronParameters=explicit_scancel, scancel wants --cron, or this variable (24.11)."""
    assert "SCANCEL_CRON=1" in question.ask(["/usr/bin/env"], 10)[0].splitlines()
