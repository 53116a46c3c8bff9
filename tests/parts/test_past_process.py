"""Who was behind a process that has ended: the kernel's records of it, beside what hooks recorded."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from datetime import UTC
from pathlib import Path

import pytest

from gridwarden import exit_lines, ledger, proc
from gridwarden.accounting import collect, evidence, incident, past_process, processes
from gridwarden.accounting.answers import Answer
from gridwarden.accounting.living import Node
from gridwarden.accounting.past import Past
from gridwarden.accounting.question import ask
from gridwarden.accounting.store import open_store
from gridwarden.accounting.whoran import whoran

ANNA, BELA = "/DC=org/DC=example/CN=Anna Example", "/DC=org/DC=example/CN=Bela Example"
LEASE, OTHER_LEASE = "a" * 32, "b" * 32
LENT = "games"  # an account of every Debian system that nobody logs in to
SECOND = 1_000_000
HOUR = 3600 * SECOND


class Machine:
    """A node, the ledger of which says when jobs began and ended by a clock that the test sets."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("ledger", "holders", "jobs", "spool"):
            (root / name).mkdir(mode=0o700)
        self.ledger = root / "ledger"
        self.url = f"sqlite:///{root}/store.sqlite"
        self.node = Node(root / "holders", root / "jobs", str(root / "spool"), ("cms",))
        self.begin = ledger.time.time_ns() // 1000 - 10 * HOUR
        self._monkeypatch = monkeypatch

    def record(self, at: int, kind: str, **fields) -> None:
        with self._monkeypatch.context() as patch:
            patch.setattr(ledger.time, "time_ns", lambda: at * 1000)
            ledger.append(self.ledger, kind, fields, node="n1", cluster="site")

    def job(self, job: str, start: int, end: int, subject: str = ANNA, lease: str = LEASE) -> None:
        common = {"batch": "slurm", "job": job, "restart": 0, "account": LENT, "uid": 5, "lease": lease}
        named = {"scheme": "x509", "subject": subject, "vo": "cms", "stamp": lease}
        self.record(start, "job_start", **common, **named, evidence="holder", batch_start=None)
        self.record(end, "job_end", **common, exit_code=None)

    def process(self, pid: int, start: int, end: int, parent: int = 1, **more) -> None:
        row = {
            "node": past_process.this_node(), "pid": pid, "start": start, "end": end, "parent": parent,
            "uid": pwd.getpwnam(LENT).pw_uid, "gid": 60, "command": f"command{pid}", "user_cpu": 1, "system_cpu": 0, "status": 0,
        } | more  # fmt: skip
        with open_store(self.url).transaction() as connection:
            processes.put(connection, list(row), [tuple(row.values())])

    def ask(self, text: str, **options) -> tuple[list[Answer], list[str]]:
        collect.collect_ledger(open_store(self.url), self.ledger, now=1, progress=lambda *_: None)
        past = Past(self.url, self.ledger)
        asked = ask(text, now=ledger.time.time_ns() // 1000, zone=UTC, **options)
        return whoran(asked, self.node, past)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def gone() -> int:
    """A pid that no process has now."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_lived_and_died_leads_to_its_job_and_the_accounts_holder_then(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND)
    (answer,), _ = machine.ask(str(pid))
    assert (answer.evidence, answer.identity, answer.account, answer.job) == (evidence.KERNEL_MEASURED, ANNA, LENT, "7")
    assert (answer.since, answer.until, answer.pid) == (at + 5 * SECOND, at + 9 * SECOND, pid)
    assert "process accounting" in answer.because


def test_a_sheet_says_what_ran_by_process_accounting_too_which_knows_of_no_job(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND, user_cpu=1_500_000)
    machine.process(pid + 1, at + 5 * SECOND, at + 9 * SECOND, uid=0)
    machine.process(pid + 2, at + 2 * HOUR, at + 3 * HOUR)
    found, notes = machine.ask(f"@{at // SECOND}..now", job="7")
    past = Past(machine.url, machine.ledger)
    shown = incident.lines(incident.sheet(found, notes, machine.node, past, at + 9 * HOUR), "", 0, UTC)
    ran = [line.split(maxsplit=2)[2] for line in shown if line.startswith("   what ran")]
    assert ran == [f"command{pid}: 1 processes of the account then, 1.500 s"]


def test_two_processes_of_one_pid_are_each_their_own_holders(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.job("8", at + 2 * HOUR, at + 3 * HOUR, BELA, OTHER_LEASE)
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND)
    machine.process(pid, at + 2 * HOUR + SECOND, at + 2 * HOUR + 2 * SECOND)
    found, notes = machine.ask(str(pid))
    assert [(answer.identity, answer.job) for answer in found] == [(ANNA, "7"), (BELA, "8")]
    assert any("more than one process" in note for note in notes)
    (then,), _ = machine.ask(f"{pid}@@{(at + 2 * HOUR + SECOND) // SECOND}")
    assert then.identity == BELA
    nobody, _ = machine.ask(f"{pid}@@{(at + HOUR) // SECOND}")
    assert nobody == []


def test_a_pid_that_the_kernel_kept_nothing_of_is_led_to_its_job_by_what_the_agent_noted_and_no_further(machine):
    pid, at = gone(), machine.begin
    start = int(time.clock_gettime(time.CLOCK_BOOTTIME) * proc.TICKS) + 5 * proc.TICKS
    note = {
        "batch": "slurm", "job": "7", "restart": 0, "account": LENT, "uid": 5, "lease": LEASE, "pid": pid,
        "process_start": start, "cgroup": "", "what": "task", "text": "job\t8\n",
    }  # fmt: skip
    machine.job("7", at, at + HOUR)
    machine.job("8", at, at + HOUR, BELA, OTHER_LEASE)
    machine.record(at + SECOND, "noted", **note)
    machine.record(at + SECOND, "noted", **note | {"what": "other"})
    machine.record(at + 2 * HOUR, "noted", **note | {"job": "9"})  # no hook knew who was behind it
    (answer,), _ = machine.ask(str(pid), node="n1")
    assert (answer.evidence, answer.identity, answer.job, answer.pid) == (evidence.DECLARED, ANNA, "7", pid)
    assert answer.since is not None and abs(answer.since - (at + 6 * SECOND)) < SECOND
    assert answer.until == at + HOUR
    for second, count in ((1, 0), (60, 1), (2 * 3600, 0)):
        found, _ = machine.ask(f"{pid}@@{at // SECOND + second}", node="n1")
        assert len(found) == count, second
    assert machine.ask(str(pid), node="n2")[0] == machine.ask(str(pid))[0] == []
    machine.process(
        pid, at + 6 * SECOND, at + 9 * SECOND, node="n1", batch="slurm", job="7", account=LENT, known_by="x"
    )
    (better,), _ = machine.ask(str(pid), node="n1")
    assert better.evidence == evidence.KERNEL_MEASURED


def test_a_process_under_two_peoples_jobs_is_given_to_neither(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.job("8", at, at + HOUR, BELA, OTHER_LEASE)
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND)
    found, _ = machine.ask(str(pid))
    assert {answer.evidence for answer in found} == {evidence.AMBIGUOUS}
    exact = {"exact": 1, "cpu": 3, "batch": "slurm", "job": "8", "known_by": "its control group", "account": LENT}
    machine.process(pid, at + 5 * SECOND + 7, at + 9 * SECOND + 7, **exact)
    (answer,), _ = machine.ask(str(pid))
    assert (answer.evidence, answer.identity, answer.job) == (evidence.KERNEL_MEASURED, BELA, "8")
    assert "its control group" in answer.because


def test_who_works_under_uids_of_a_user_namespace_is_still_whom_their_job_is_of(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.job("8", at, at + HOUR, BELA, OTHER_LEASE)
    exact = {"exact": 1, "cpu": 3, "batch": "slurm", "job": "8", "known_by": "its control group", "account": ""}
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND, **exact, uid=1234567)
    (answer,), _ = machine.ask(str(pid))
    assert (answer.evidence, answer.identity, answer.job) == (evidence.KERNEL_MEASURED, BELA, "8")
    assert (answer.account, "1234567" in answer.because) == (LENT, True)


def test_a_ledger_that_cannot_be_read_is_said_beside_an_answer_from_the_past(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND)
    machine.ask(str(pid))
    with (machine.ledger / "current.jsonl").open("ab") as file:
        file.write(b"odd\n")
    _, notes = machine.ask(str(pid))
    assert any("current.jsonl" in note for note in notes)


def test_where_nothing_is_known_of_a_pid_at_a_time_a_gap_then_is_shown(machine):
    at = machine.begin
    machine.record(
        at + SECOND // 2, "gap", what="exit statistics", reason="400 threads ended unseen", bytes=None, sha256=None
    )
    (answer,), _ = machine.ask(f"{gone()}@@{at // SECOND}..@{at // SECOND + 2}")
    assert "400 threads ended unseen" in answer.because
    assert machine.ask(f"{gone()}@@{at // SECOND + 9}")[0] == []


def test_what_outlived_its_job_is_not_the_next_ones(machine):
    pid, at = gone(), machine.begin
    machine.job("7", at, at + HOUR)
    machine.process(pid, at + HOUR - SECOND, at + 2 * HOUR)
    (answer,), _ = machine.ask(str(pid))
    assert (answer.evidence, answer.identity, answer.job) == (evidence.LEASE_HISTORY, ANNA, "")


def test_parents_are_told_and_descendants_found(machine):
    at = machine.begin
    pid = gone()
    machine.job("7", at, at + HOUR)
    machine.process(1_000_001, at + SECOND, at + 60 * SECOND)
    machine.process(pid, at + 2 * SECOND, at + 50 * SECOND, parent=1_000_001)
    machine.process(1_000_003, at + 3 * SECOND, at + 4 * SECOND, parent=pid)
    machine.process(1_000_003, at + 2 * HOUR, at + 3 * HOUR, parent=pid)  # of another that had the pid later
    found, _ = machine.ask(str(pid), children=True)
    assert [(answer.pid, answer.identity) for answer in found] == [(pid, ANNA), (1_000_003, ANNA)]
    assert "child of 1000001 (command1000001)" in found[0].because
    assert f"child of {pid} (command{pid}), of 1000001 (command1000001)" in found[1].because


def test_what_the_agent_wrote_a_second_ago_is_found_before_it_is_collected(machine):
    at, pid = machine.begin, gone()
    machine.job("7", at, at + HOUR)
    spool = machine.ledger.parent / exit_lines.DIRECTORY
    spool.mkdir(mode=0o700)
    uid = pwd.getpwnam(LENT).pw_uid
    numbers = (at + 9 * SECOND, at + 5 * SECOND, pid, 1_000_001, uid, 60, 5000, 4000, 0, 0, 1)
    lines = [
        exit_lines.heading(past_process.this_node(), "site", "boot"),
        exit_lines.line((1, *numbers), "slurm", "7", exit_lines.GROUP, b"ana\tlysis"),
        exit_lines.line((2, numbers[0], numbers[1] + SECOND, 1_000_003, pid, *numbers[4:]), "", "", "", b"child"),
        b"3\t1795348518",  # being written
    ]
    (spool / exit_lines.CURRENT).write_bytes(b"".join(lines))
    found, _ = machine.ask(str(pid), children=True)
    assert [(answer.pid, answer.identity, answer.evidence) for answer in found] == [
        (pid, ANNA, evidence.KERNEL_MEASURED), (1_000_003, ANNA, evidence.KERNEL_MEASURED),
    ]  # fmt: skip
    assert "ana\tlysis" in found[0].because
    machine.process(pid, at + 5 * SECOND, at + 9 * SECOND, exact=1, cpu=5000, account=LENT, parent=1_000_001)
    assert len(machine.ask(str(pid))[0]) == 1


def test_a_process_of_an_account_that_is_not_lent_is_its_own(machine):
    pid, at = gone(), machine.begin
    machine.process(pid, at, at + SECOND, uid=0)
    (answer,), _ = machine.ask(str(pid))
    assert (answer.scheme, answer.identity) == ("local", "root")


def test_children_of_a_living_process_that_have_ended_are_found(machine):
    at = machine.begin + 10 * HOUR
    machine.process(1_000_003, at, at + SECOND, parent=os.getpid())
    found, _ = machine.ask(str(os.getpid()), children=True)
    assert 1_000_003 in {answer.pid for answer in found}
