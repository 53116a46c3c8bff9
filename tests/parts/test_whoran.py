"""Who ran: real processes under other uids, a real register, holder files, ledger and store."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import subprocess
import sys
import time
from datetime import UTC
from pathlib import Path

import pytest

from gridwarden import holders, ledger, payloads, proc, register
from gridwarden.accounting import collect, evidence, incident, postgresql, schema
from gridwarden.accounting.batch_records import Job
from gridwarden.accounting.living import Node
from gridwarden.accounting.past import Past
from gridwarden.accounting.question import LARGEST_PID, ask, of_cgroup
from gridwarden.accounting.store import open_store
from gridwarden.accounting.whoran import whoran
from gridwarden.accounting_settings import Accounting
from gridwarden.errors import BadQuestion, Unavailable
from gridwarden.holders import Holder
from gridwarden.register import Entry
from tests.killing import kill, kill_group

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run processes as other users")

ANNA, BELA = "/DC=org/DC=example/CN=Anna Example", "/DC=org/DC=example/CN=Bela Example"
MALLORY = "https://cms.example/,mallory"
LEASE, OTHER_LEASE = "a" * 32, "b" * 32
PAYLOAD = "c" * 32
# Accounts of every Debian system that nobody logs in to; a holder file makes them accounts that are lent.
LENT, GUEST = "games", "news"
# A job step: it listens where slurmstepd does, and its grandchild runs as the job's user.
STEP = """
import os, socket, sys, time
path, uid, leave = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "leave"
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.setresuid(uid, uid, uid)
        print(os.getpid(), flush=True)
        time.sleep(600)
    if leave:
        os._exit(0)
    time.sleep(600)
time.sleep(600)
"""


class Machine:
    """A node of its own below a temporary directory."""

    def __init__(self, root: Path) -> None:
        for name in ("spool", "ledger", "holders", "jobs"):
            (root / name).mkdir(mode=0o700)
        self.root = root
        self.ledger = root / "ledger"
        self.url = f"sqlite:///{root}/store.sqlite"
        self.node = Node(root / "holders", root / "jobs", str(root / "spool"), ("cms",))
        self.processes: list[int] = []
        self.steps: list[subprocess.Popen[bytes]] = []

    def hold(self, account: str = LENT, subject: str = ANNA, lease: str = LEASE, since: int = 1) -> None:
        entry = pwd.getpwnam(account)
        holder = Holder(
            account=account, uid=entry.pw_uid, gid=entry.pw_gid, lease=lease, name="name", scheme="x509",
            subject=subject, vo="cms", fqans=(), since=since, inode=1,
        )  # fmt: skip
        holders.publish(self.node.holders, holder)

    def enter(self, job: str, account: str = LENT, lease: str = LEASE) -> Entry:
        entry = Entry(
            batch="slurm", cluster="site", node="n1", job=job, restart=0, account=account,
            uid=pwd.getpwnam(account).pw_uid, lease=lease, start=now(), boot="boot",
        )  # fmt: skip
        register.enter(self.node.register, entry)
        return entry

    def step(self, job: str, account: str = LENT, *, leave: bool = False) -> int:
        """Start a job step; the pid of the job's process, whose parents lead to the step unless it has left them."""
        path = str(self.root / "spool" / f"n1_{job}.4294967291")
        words = [sys.executable, "-c", STEP, path, str(pwd.getpwnam(account).pw_uid), "leave" if leave else "stay"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        pid = int(process.stdout.readline())
        self.processes.append(pid)
        self.steps.append(process)
        if leave:
            while parent_of(pid) != 1:
                time.sleep(0.01)
        return pid

    def record(self, kind: str, **fields) -> None:
        ledger.append(self.ledger, kind, fields, node="n1", cluster="site")

    def lend(self, account: str = LENT, subject: str = ANNA, lease: str = LEASE, credential: str = "") -> None:
        self.record(
            "lease", account=account, uid=1, lease=lease, name="name", scheme="x509", subject=subject, vo="cms",
            fqans="", credential=credential, adopted=0,
        )  # fmt: skip

    def stamp_of(self, account: str, subject: str) -> str:
        """A lease that only a record of another machine's ledger tells of, after the job that carries it as a stamp."""
        body = {"kind": "lease", "time": now() + 60_000_000, "account": account, "lease": "e" * 32, "name": "name",
                "scheme": "x509", "subject": subject, "vo": "cms"}  # fmt: skip
        line = {"ledger": "other", "seq": 1, "hash": "h", "digest": "d", "kind": "lease", "time": body["time"],
                "account": account, "lease": "e" * 32, "body": json.dumps(body)}  # fmt: skip
        with open_store(self.url).transaction() as connection:
            collect.rows.insert_new(connection, schema.records, [line])
        return "e" * 32

    def sheet(self, answers, notes) -> str:
        past = Past(self.url, self.ledger)
        try:
            found = incident.sheet(answers, notes, self.node, past, now())
            return "\n".join(incident.lines(found, "whoran", now(), UTC))
        finally:
            past.close()

    def start(self, job: str, account: str = LENT, subject: str = ANNA, lease: str = LEASE, node: str = "n1") -> None:
        fields = {
            "batch": "slurm", "job": job, "restart": 0, "account": account, "uid": 1, "lease": lease, "scheme": "x509",
            "subject": subject, "vo": "cms", "stamp": lease, "evidence": "holder+link", "batch_start": None,
        }  # fmt: skip
        ledger.append(self.ledger, "job_start", fields, node=node, cluster="site")

    def end(self, job: str, account: str = LENT) -> None:
        self.record("job_end", batch="slurm", job=job, restart=0, account=account, uid=1, lease=LEASE, exit_code="0:0")

    def links(self, *names: str, account: str = LENT, lease: str = LEASE) -> list[tuple[str, dict[str, object]]]:
        """What a hook or the agent records of an account that it finds linked to several names at once."""
        leases = {"name": lease}  # the rest another program made
        return [
            ("observation", {"account": account, "lease": leases.get(name, ""), "name": name, "inode": 1})
            for name in names
        ]

    def see(self, *names: str, **whose: str) -> None:
        ledger.append_all(self.ledger, self.links(*names, **whose), node="n1", cluster="site")

    def end_with_link(self, job: str, *names: str) -> None:
        """End a job as its hook does that finds the account linked to somebody else by another program."""
        end = {
            "batch": "slurm",
            "job": job,
            "restart": 0,
            "account": LENT,
            "uid": 1,
            "lease": LEASE,
            "exit_code": "0:0",
        }
        ledger.append_all(self.ledger, [*self.links(*names), ("job_end", end)], node="n1", cluster="site")

    def payload(self, *kinds: str, subject: str = BELA, account: str = GUEST, also: str = "") -> None:
        about = {"payload": PAYLOAD, "batch": "slurm", "job": "7", "restart": 0, "account": account, "uid": 1}
        about["lease"] = OTHER_LEASE
        start = {
            "pilot": LENT, "pilot_uid": 2, "pilot_scheme": "x509", "pilot_subject": ANNA, "pilot_vo": "cms",
            "scheme": "x509", "subject": subject, "vo": "atlas", "credential": "1f/CN=CA",
            "also_scheme": "token" if also else "", "also_subject": also, "also_vo": "cms" if also else "",
            "also_credential": "jti=1" if also else "", "program": "/bin/true", "name": "", "cgroup": "",
        }  # fmt: skip
        end = {
            "status": 0, "signal": None, "user": 10, "system": 5, "memory": 4096, "group_cpu": None,
            "measured": "wait4", "because": "",
        }  # fmt: skip
        for kind in kinds:
            self.record(kind, **about, **(start if kind == "payload_start" else end))

    def kill(
        self,
        pid: int,
        process_start: int,
        lease: str = LEASE,
        account: str = LENT,
        batch: str = "slurm",
        job: str = "7",
    ) -> None:
        self.record(
            "kill", account=account, uid=1, lease=lease, subject="", pid=pid, process_start=process_start, parent=1,
            command="stray", arguments="stray", cpu=0, signal=9, why="no-job", batch=batch, job=job,
        )  # fmt: skip

    def collect(self) -> None:
        collect.collect_ledger(open_store(self.url), self.ledger, now=now(), progress=lambda *_: None)

    def collect_jobs(self, *lines: str) -> None:
        collect.collect_slurm(
            open_store(self.url), lambda _: lines, "site", since=0, now=now(), progress=lambda *_: None
        )

    def ask(self, text: str | None, **filters):
        question = ask(text, now=now(), zone=UTC, **filters)
        past = Past(self.url, self.ledger)
        try:
            return whoran(question, self.node, past)
        finally:
            past.close()


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    kill(*machine.processes)
    for step in machine.steps:
        kill_group(step.pid)
        step.communicate()


def now() -> int:
    return time.time_ns() // 1000


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def only(found):
    (answer,) = found[0]
    return answer


def test_a_grandchild_of_a_job_is_traced_to_its_owner(machine):
    machine.hold()
    entry = machine.enter("7")
    pid = machine.step("7")
    answer = only(machine.ask(str(pid)))
    assert (answer.identity, answer.account, answer.job, answer.node, answer.since, answer.evidence) == (
        ANNA, LENT, "7", "n1", entry.start, evidence.KERNEL_MEASURED,
    )  # fmt: skip


def test_a_process_of_a_pilots_payload_is_given_to_the_payloads_owner_and_not_to_the_pilot(machine):
    machine.hold()
    machine.enter("7")
    pid = machine.step("7")  # in the pilot's job; its parent is the launcher
    launcher = proc.read(parent_of(pid))
    (machine.root / "payloads").mkdir(mode=0o700)
    state = payloads.State(
        payload=PAYLOAD, account=GUEST, scheme="x509", subject=BELA, pilot=LENT, batch="slurm", job="7",
        launcher=launcher.pid, launcher_start=launcher.start,
    )  # fmt: skip
    os.close(payloads.write(str(machine.root / "payloads"), state))
    answer = only(machine.ask(str(pid)))
    assert (answer.identity, answer.account, answer.job) == (BELA, GUEST, PAYLOAD)
    assert answer.evidence == evidence.KERNEL_MEASURED
    assert f"a payload of {LENT}, in slurm job 7" in answer.because
    assert only(machine.ask(str(launcher.pid))).identity != BELA, "the launcher itself is nobody's payload"
    os.close(payloads.write(str(machine.root / "payloads"), state.but(launcher_start=launcher.start + 1)))
    assert only(machine.ask(str(pid))).identity == ANNA, "another process has got the launcher's number since"


def test_who_asks_what_ran_then_is_told_of_payloads_and_whether_they_ended(machine):
    began = now()
    machine.payload("payload_start")
    answer = only(machine.ask(f"@{began / 1e6:.6f}..now"))
    wanted = (BELA, GUEST, "payload", PAYLOAD, None, evidence.BATCH)
    assert (answer.identity, answer.account, answer.batch, answer.job, answer.until, answer.evidence) == wanted
    assert "the launcher verified the credential" in answer.because
    machine.collect()
    machine.payload("payload_end")
    assert only(machine.ask(f"@{began / 1e6:.6f}..now")).until is not None
    machine.collect()
    assert only(machine.ask(None, account=GUEST)).identity == BELA


def test_both_of_whom_a_payloads_credentials_name_are_behind_its_processes(machine):
    pid = machine.step("7")
    launcher = proc.read(parent_of(pid))
    (machine.root / "payloads").mkdir(mode=0o700)
    state = payloads.State(
        payload=PAYLOAD, account=GUEST, scheme="x509", subject=BELA, also_scheme="token", also_subject=MALLORY,
        also_vo="atlas", pilot=LENT, pilot_scheme="x509", pilot_subject=ANNA, pilot_vo="cms",
        launcher=launcher.pid, launcher_start=launcher.start,
    )  # fmt: skip
    os.close(payloads.write(str(machine.root / "payloads"), state))
    found, notes = machine.ask(str(pid))
    assert [(answer.scheme, answer.identity) for answer in found] == [("x509", BELA), ("token", MALLORY)]
    assert not notes
    assert all(f"its pilot is {ANNA} (x509, cms)" in answer.because for answer in found)
    assert BELA in found[1].because and MALLORY in found[0].because


def test_whoever_asks_later_is_told_of_both_before_and_after_the_records_are_collected(machine):
    machine.payload("payload_start", "payload_end", also=MALLORY)
    for _ in range(2):
        found, _ = machine.ask(None, account=GUEST)
        assert {(answer.scheme, answer.identity, answer.vo) for answer in found} == {
            ("x509", BELA, "atlas"), ("token", MALLORY, "cms"),
        }  # fmt: skip
        assert {answer.evidence for answer in found} == {evidence.BATCH}
        assert all(f"its pilot is {ANNA} (x509, cms)" in answer.because for answer in found)
        assert only(machine.ask(None, identity=MALLORY)).account == GUEST
        machine.collect()


def test_both_are_named_for_what_a_payload_left_behind_and_was_killed(machine):
    machine.payload("payload_start", also=MALLORY)
    machine.kill(4711, now(), OTHER_LEASE, GUEST, "payload", PAYLOAD)
    machine.kill(4712, now(), OTHER_LEASE, GUEST, "payload", "d" * 32)
    for _ in range(2):
        found, _ = machine.ask("4711")
        assert {answer.identity for answer in found} == {BELA, MALLORY}
        assert {answer.evidence for answer in found} == {evidence.LEASE_HISTORY}
        assert only(machine.ask("4712")).identity == BELA, "of a payload that no record names"
        machine.collect()


def test_a_payload_says_who_held_its_account_where_no_lease_record_does(machine):
    machine.payload("payload_start")
    machine.kill(4711, now(), lease=OTHER_LEASE)
    assert only(machine.ask("4711")).identity == BELA


def test_a_process_is_not_given_to_who_holds_the_account_today(machine):
    machine.lend()
    machine.hold(subject=BELA, lease=OTHER_LEASE)
    machine.enter("7")
    answer = only(machine.ask(str(machine.step("7"))))
    assert (answer.identity, answer.evidence) == (ANNA, evidence.BATCH)
    assert "lent anew" in answer.because


def test_a_daemonised_process_is_only_likely_its_accounts_job(machine):
    machine.hold()
    machine.enter("7")
    pid = machine.step("7", leave=True)
    answer = only(machine.ask(str(pid)))
    assert (answer.identity, answer.job, answer.evidence) == (ANNA, "7", evidence.LEASE_HISTORY)
    assert "likely" in answer.because


def test_a_daemonised_process_of_two_jobs_has_two_candidates(machine):
    machine.hold()
    machine.enter("7")
    machine.enter("8")
    pid = machine.step("7", leave=True)
    answers, _ = machine.ask(str(pid))
    assert sorted(answer.job for answer in answers) == ["7", "8"]
    assert {answer.evidence for answer in answers} == {evidence.AMBIGUOUS}


def test_a_process_without_any_job_is_called_a_stray(machine):
    machine.hold()
    answer = only(machine.ask(str(machine.step("7", leave=True))))
    assert (answer.identity, answer.job, answer.account) == (ANNA, "", LENT)
    assert "stray" in answer.because


def test_a_stray_of_an_earlier_holder_is_not_given_to_the_next(machine):
    machine.lend()
    time.sleep(0.05)  # more than the clock tick to which the kernel knows a process's start
    pid = machine.step("7", leave=True)
    machine.lend(subject=BELA, lease=OTHER_LEASE)
    machine.hold(subject=BELA, lease=OTHER_LEASE, since=now())
    answer = only(machine.ask(str(pid)))
    assert (answer.identity, answer.evidence) == (ANNA, evidence.LEASE_HISTORY)


def test_a_process_of_another_account_within_a_job_is_its_own_holders(machine):
    machine.hold()
    machine.hold(GUEST, BELA, OTHER_LEASE)
    machine.enter("7")
    answer = only(machine.ask(str(machine.step("7", GUEST))))
    assert (answer.identity, answer.account, answer.job) == (BELA, GUEST, "7")
    assert answer.evidence == evidence.LEASE_HISTORY


def test_a_process_of_another_account_within_a_job_is_of_all_to_whom_that_is_linked(machine):
    machine.hold(GUEST, BELA, OTHER_LEASE)
    machine.enter("7")
    machine.see("name", "%2fcn%3deve", account=GUEST, lease=OTHER_LEASE)
    found, _ = machine.ask(str(machine.step("7", GUEST)))
    assert {(each.identity, each.evidence) for each in found} == {
        (BELA, evidence.AMBIGUOUS), ("/cn=eve", evidence.AMBIGUOUS),
    }  # fmt: skip


def test_a_process_is_not_called_a_stray_where_jobs_cannot_be_read(machine):
    machine.hold()
    machine.enter("7")
    pid = machine.step("7")
    (machine.root / "spool").rename(machine.root / "gone")
    answer = only(machine.ask(str(pid)))
    assert (answer.identity, answer.evidence) == (ANNA, evidence.LEASE_HISTORY)
    assert "cannot be told" in answer.because
    assert "stray" not in answer.because


def test_a_spoilt_register_is_not_taken_for_an_empty_one(machine):
    machine.hold()
    machine.enter("7")
    pid = machine.step("7")
    next((machine.node.register / LENT).iterdir()).write_bytes(b"spoilt")
    (answer,), notes = machine.ask(str(pid))
    assert answer.because == "its parents lead to the job's slurmstepd; the register cannot be read"
    assert any("register" in note for note in notes)


def test_what_the_kernel_measured_needs_no_word_about_the_past(machine):
    machine.hold()
    machine.enter("7")
    assert machine.ask(str(machine.step("7")))[1] == []
    assert any("store" in note for note in machine.ask("now")[1])


def test_a_pid_asked_for_on_another_node_is_not_silently_unknown(machine):
    machine.hold()
    machine.enter("7")
    answers, notes = machine.ask(str(machine.step("7")), node="n9")
    assert answers == []
    assert "only on its own node" in notes[0]


def test_a_ledger_under_a_new_name_does_not_double_the_answers(machine):
    machine.start("7")
    machine.start("8")
    machine.end("8")
    machine.collect()
    (machine.ledger / "id").unlink()
    machine.end("7")
    machine.collect()
    jobs = [answer.job for answer in machine.ask("-1m..now")[0]]
    assert jobs.count("8") == 1


def test_a_newer_store_leaves_the_answer_that_this_machine_knows(machine):
    machine.collect()
    machine.start("7")
    with sqlite3.connect(machine.root / "store.sqlite") as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    answers, notes = machine.ask("now")
    assert only((answers, notes)).job == "7"
    assert any("schema 9999" in note for note in notes)


def test_a_job_of_a_local_user_is_said_to_be_theirs(machine):
    answer = only(machine.ask(str(machine.step("7"))))
    assert (answer.scheme, answer.identity, answer.job) == ("local", LENT, "7")


def test_a_process_outside_all_jobs_is_not_guessed_at(machine):
    answers, notes = machine.ask(str(os.getpid()))
    assert answers == []
    assert any("no batch job" in note for note in notes)


@pytest.mark.parametrize("collected", [False, True])
def test_a_pid_that_is_gone_is_known_by_its_kill(machine, collected):
    machine.lend()
    began = now()
    machine.kill(4_194_303, began)
    if collected:
        machine.collect()
    answer = only(machine.ask("4194303"))
    assert (answer.identity, answer.pid, answer.since, answer.job) == (ANNA, 4_194_303, began, "7")
    assert answer.evidence == evidence.LEASE_HISTORY


def test_a_pid_used_twice_is_two_processes(machine):
    machine.lend()
    for began in (now() - 10, now()):
        machine.kill(4_194_303, began)
    answers, notes = machine.ask("4194303")
    assert len(answers) == 2
    assert "more than one process" in notes[0]


@pytest.mark.parametrize("collected", ["nothing", "start", "all"])
def test_a_moment_in_between_finds_the_jobs_that_ran(machine, collected):
    before = now()
    machine.start("7")
    machine.start("8", GUEST, BELA, OTHER_LEASE)
    if collected == "start":
        machine.collect()
    between = now()
    machine.end("7")
    if collected == "all":
        machine.collect()
    after = now()
    assert machine.ask(f"@{before / 1e6:.6f}")[0] == []
    assert [answer.identity for answer in machine.ask(f"@{between / 1e6:.6f}")[0]] == [ANNA, BELA]
    answer = only(machine.ask(f"@{after / 1e6:.6f}"))
    assert (answer.identity, answer.until, answer.evidence) == (BELA, None, evidence.BATCH)


def test_filters_leave_the_others_out(machine):
    machine.start("7")
    machine.start("8", GUEST, BELA, OTHER_LEASE)
    for filters in ({"account": GUEST}, {"account": "n*"}, {"job": "8"}, {"identity": "bela"}):
        assert only(machine.ask("-1m..now", **filters)).identity == BELA
    assert len(machine.ask("-1m..now", node="n1")[0]) == 2
    assert machine.ask("-1m..now", node="n2")[0] == []
    assert only(machine.ask(None, job="8")).identity == BELA


def test_a_gap_in_the_records_is_said(machine):
    machine.start("7")
    machine.record("gap", what="job_start of slurm job 9", reason="holder-missing", bytes=None, sha256=None)
    answers, _ = machine.ask("-1m..now")
    assert [answer.evidence for answer in answers] == [evidence.BATCH, evidence.AMBIGUOUS]
    assert "gap" in answers[1].because
    assert answers[1].account == ""


def row(**changes: str) -> str:
    second = now() // 1_000_000
    values = {
        "JobIDRaw": "9", "Cluster": "site", "User": LENT, "UID": "5", "Submit": str(second), "Start": str(second),
        "End": "Unknown", "State": "RUNNING", "ExitCode": "0:0", "Restarts": "0", "UserCPU": "00:00:00",
        "SystemCPU": "00:00:00", "TotalCPU": "00:00:00", "NodeList": "n[1-2]", "Partition": "main", "AllocCPUS": "1",
        "ElapsedRaw": "1", "Group": LENT, "Account": "", "AdminComment": "",
    }  # fmt: skip
    return "\x1f".join({**values, **changes}.values())


def test_whoever_asks_for_a_job_that_never_began_is_told_whose_it_was_and_whoever_asks_for_a_time_is_not(machine):
    machine.lend()
    time.sleep(1.1)
    machine.collect_jobs(row(Start="Unknown", End=str(now() // 1_000_000), State="CANCELLED by 0", NodeList=""))
    (answer,), _ = machine.ask(None, job="9")
    assert (answer.identity, answer.since) == (ANNA, None)
    assert answer.because.endswith("the job had not begun, by that record")
    assert machine.ask("-1h..now")[0] == []


def test_a_job_without_a_hooks_record_is_known_by_the_lease_history(machine):
    machine.lend()
    time.sleep(1.1)
    machine.collect_jobs(row())
    answer = only(machine.ask("-1s..now", node="n2"))
    assert (answer.identity, answer.job, answer.evidence) == (ANNA, "9", evidence.LEASE_HISTORY)
    assert "no hook" in answer.because


def test_both_are_named_where_another_program_lent_the_account_while_a_job_ran_and_the_next_waited(machine):
    machine.lend()
    machine.start("7")
    time.sleep(1.1)
    waiting = now() // 1_000_000
    machine.record("observation", account=LENT, lease=LEASE, name="name", inode=1)
    time.sleep(1.1)
    machine.end_with_link("7", "%2fcn%3deve")
    machine.collect_jobs(row(JobIDRaw="8", Submit=str(waiting), Start=str(now() // 1_000_000 + 1)))
    eve = "/cn=eve"
    for collected in (False, True):
        if collected:
            machine.collect()
        for job in ("7", "8"):
            found, _ = machine.ask(None, job=job)
            assert {(answer.identity, answer.evidence) for answer in found} == {
                (ANNA, evidence.AMBIGUOUS), (eve, evidence.AMBIGUOUS),
            }  # fmt: skip
            assert all("changed hands between" in answer.because for answer in found)
            assert "not proven" in next(answer.because for answer in found if answer.identity == eve)
    assert [answer.job for answer in machine.ask(None, identity="EVE")[0]] == ["7", "8"]


def test_all_are_named_to_whom_an_account_was_linked_at_once_and_never_the_last_alone(machine):
    machine.lend()
    machine.start("7")
    time.sleep(1.1)
    machine.end_with_link("7", "name", "%2fcn%3deve", "%2fcn%3dmallory")
    time.sleep(1.1)
    machine.kill(5, now(), job="")  # goes by the holder file, and says nothing of links
    machine.collect_jobs(row(JobIDRaw="8", Start=str(now() // 1_000_000 + 1)))
    for collected in (False, True):
        if collected:
            machine.collect()
        for asked, job in ((None, "7"), ("5", None), (None, "8")):
            found, _ = machine.ask(asked, job=job)
            assert {(answer.identity, answer.evidence) for answer in found} == {
                (who, evidence.AMBIGUOUS) for who in (ANNA, "/cn=eve", "/cn=mallory")
            }
        assert all("3 names were linked to the account at once, from 20" in answer.because for answer in found)


def test_a_stray_of_an_account_that_is_linked_to_another_as_well_is_not_given_to_its_holder(machine):
    machine.hold(since=now())
    machine.see("name", "%2fcn%3deve")
    pid = machine.step("7", leave=True)
    found, _ = machine.ask(str(pid))
    assert {(answer.identity, answer.evidence) for answer in found} == {
        (ANNA, evidence.AMBIGUOUS), ("/cn=eve", evidence.AMBIGUOUS),
    }  # fmt: skip


def test_a_process_of_a_job_that_no_hook_could_verify_is_of_those_to_whom_its_account_was_linked_then(machine):
    machine.hold()
    machine.lend()
    machine.enter("7", lease="")
    machine.see("name", "%2fcn%3deve")
    found, _ = machine.ask(str(machine.step("7")))
    assert {(answer.identity, answer.job, answer.evidence) for answer in found} == {
        (ANNA, "7", evidence.AMBIGUOUS), ("/cn=eve", "7", evidence.AMBIGUOUS),
    }  # fmt: skip
    assert "no hook could verify" in found[0].because


def test_who_mistypes_a_nodes_name_is_told_which_there_are(machine, url):
    machine.url = url
    machine.start("7")
    machine.start("8", node="wn042.example.org")
    machine.collect()
    told = {}
    for name in ("n11", "N1", "n1.example.org", "wn042", "nowhere", "n1"):
        answers, notes = machine.ask("-2h..-1h", node=name)
        assert answers == []
        told[name] = [note.partition("; ")[2] for note in notes if f"no record of a job names a node '{name}'" in note]
    assert told == {
        "n11": ["near it are n1"], "N1": ["near it are n1"], "n1.example.org": ["near it are n1"],
        "wn042": ["near it are wn042.example.org"], "nowhere": [""], "n1": [],
    }  # fmt: skip


def test_a_job_known_by_its_stamp_alone_is_only_declared(machine):
    machine.collect_jobs(row(AdminComment=LEASE))
    time.sleep(1.1)
    machine.lend()
    answer = only(machine.ask("-5s..now"))
    assert (answer.identity, answer.evidence) == (ANNA, evidence.DECLARED)


def test_a_job_of_nobody_known_is_said_to_be_ambiguous(machine):
    machine.collect_jobs(row(AdminComment=LEASE))
    answer = only(machine.ask("-5s..now"))
    assert (answer.identity, answer.job, answer.evidence) == ("", "9", evidence.AMBIGUOUS)


def test_the_batch_system_tells_the_end_that_a_hook_did_not(machine):
    machine.start("9")
    second = now() // 1_000_000
    machine.collect_jobs(row(End=str(second), State="NODE_FAIL"))
    answer = only(machine.ask(None, job="9"))
    assert answer.until == second * 1_000_000
    assert "batch system" in answer.because


def test_an_account_that_was_idle_is_still_known_to_have_been_held(machine):
    machine.lend()
    answer = only(machine.ask("-1m..now", account=LENT))
    assert (answer.identity, answer.job, answer.evidence) == (ANNA, "", evidence.LEASE_HISTORY)


def test_a_broken_ledger_is_said_and_the_rest_still_answers(machine):
    machine.start("7")
    machine.start("8")
    current = machine.ledger / "current.jsonl"
    current.write_bytes(current.read_bytes().replace(b'"job":"7"', b'"job":"6"'))
    answers, notes = machine.ask("-1m..now")
    assert "8" in [answer.job for answer in answers]
    assert "6" not in [answer.job for answer in answers]
    assert any("altered" in note for note in notes)


SITE = """
site: EXAMPLE
pools: [cms]
policy: [{{fqan: "*", pool: cms}}]
directories: {{state: {root}/state, runtime: {root}/run}}
slurm: {{cluster: site, spool: {root}/spool}}
store: sqlite:///{root}/store.sqlite
"""


@pytest.fixture
def command(tmp_path):
    for name in ("state", "state/ledger", "run", "spool"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "site.yaml").write_text(SITE.format(root=tmp_path))

    def run(*words: str, **options):
        program = "import sys; from gridwarden.cli import whoran; sys.exit(whoran())"
        words = [sys.executable, "-c", program, "--config", str(tmp_path / "site.yaml"), *words]
        return subprocess.run(words, capture_output=True, text=True, check=False, **options)

    run.ledger = tmp_path / "state/ledger"
    return run


def test_the_exit_code_says_found_unknown_or_unclear(command):
    assert command("4194303").returncode == 1
    assert command("--", "-2h").returncode == 1
    assert command("yesterday", "14:00").returncode == 1
    for words in (["25:00"], ["02/03/2026"], ["yesterday", "25:00"], ["--nod", "n1"], [], ["-2x"]):
        said = command(*words)
        assert said.returncode == 2, words
        assert "Traceback" not in said.stderr
    fields = {"batch": "slurm", "job": "7", "restart": 0, "account": "cms001", "uid": 1, "lease": LEASE,
              "scheme": "x509", "subject": ANNA, "vo": "cms", "stamp": "", "evidence": "holder",
              "batch_start": None}  # fmt: skip
    ledger.append(command.ledger, "job_start", fields, node="n1", cluster="site")
    found = command("-2m..now", "--format", "json")
    assert found.returncode == 0
    (answer,) = json.loads(found.stdout)
    assert (answer["identity"], answer["job"], answer["evidence"]) == (ANNA, "7", "batch")


def test_each_question_of_root_is_recorded(command):
    command("4194303", env={**os.environ, "SUDO_USER": "carla"})
    last = (command.ledger / "current.jsonl").read_text().splitlines()[-1]
    body = json.loads(last)["body"]
    assert (body["kind"], body["who"], body["answered"]) == ("question", "carla", 0)
    assert "4194303" in body["text"]


AS_NOBODY = """
import os, sys
import gridwarden.accounting.whoran_commands, gridwarden.accounting.past, gridwarden.accounting.whoran
from gridwarden.cli import whoran
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(whoran())
"""


def test_somebody_else_is_told_what_they_may_not_read(command, tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o055 != 0o055:
            directory.chmod(0o755)
    command.ledger.chmod(0o700)
    open_store(f"sqlite:///{tmp_path}/store.sqlite")
    words = [sys.executable, "-c", AS_NOBODY, "--config", str(tmp_path / "site.yaml"), "-2h..now"]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert "the ledger" in said.stderr
    assert "the store" in said.stderr


def test_a_store_in_postgresql_gives_the_same_answers_as_one_in_sqlite(machine, database):
    began = now()
    machine.lend()
    machine.start("7")
    machine.kill(4711, began)
    machine.end("7")
    machine.collect()
    machine.start("8", subject=BELA, lease=OTHER_LEASE)  # which is in the ledger only
    questions = [("4711", {}), (f"@{began / 1e6:.6f}..now", {}), (None, {"account": LENT}), (None, {"job": "7"})]
    from_file = [machine.ask(text, **filters) for text, filters in questions]
    machine.url = database
    machine.collect()
    assert [machine.ask(text, **filters) for text, filters in questions] == from_file
    assert all(answers for answers, _ in from_file)


def test_whoever_asks_waits_for_no_more_than_the_databases_own_driver(machine, url):
    machine.url = url
    machine.start("7")
    machine.collect()
    site = machine.root / "site.yaml"
    site.write_text(SITE.format(root=machine.root).replace(f"sqlite:///{machine.root}/store.sqlite", url))
    program = "import sys; sys.modules['sqlalchemy'] = None; from gridwarden.cli import whoran; sys.exit(whoran())"
    words = [sys.executable, "-c", program, "--config", str(site), "--format", "json", "-1h..now"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert [answer["job"] for answer in json.loads(done.stdout)] == ["7"], done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://gw:se:cr/et@db.example:5432/s", "postgresql://gw:***@db.example:5432/s"),
        (
            "postgresql://db.example:5432/s?user=a&password=secret&x=1",
            "postgresql://db.example:5432/s?user=a&password=***&x=1",
        ),
        ("postgresql://gw@/store?host=/run/postgresql", "postgresql://gw@/store?host=/run/postgresql"),
    ],
)
def test_a_databases_password_is_shown_to_nobody(url, shown):
    assert postgresql.place_of(url) == shown


def test_what_is_asked_of_postgresql_may_hold_percent_signs_and_colons(database):
    open_store(database)
    connection = postgresql.connect(database, write=False)
    query = "SELECT '100% of 14:02', :text, 7::text, :pid + 0 WHERE 'a' LIKE '%a%'"
    assert postgresql.rows(connection, database, query, {"text": "50% :pid", "pid": 2**40, "more": None}) == [
        ("100% of 14:02", "50% :pid", "7", 2**40)
    ]
    with pytest.raises(Unavailable, match="read-only"):
        postgresql.rows(connection, database, "DELETE FROM heads RETURNING 1", {})
    connection.close()


def test_a_server_that_is_down_is_said_and_the_ledger_still_answers(machine):
    machine.start("7")
    machine.url = f"postgresql://gridwarden@/store?host={machine.root}"
    answers, notes = machine.ask(None, job="7")
    assert [(answer.identity, answer.job) for answer in answers] == [(ANNA, "7")]
    assert any("No such file" in note for note in notes)


def test_a_session_or_process_group_is_answered_for_as_one(machine):
    machine.hold()
    machine.enter("7")
    pid = machine.step("7")
    answers, notes = machine.ask(None, session=os.getsid(pid))
    assert [(answer.identity, answer.job, answer.pid) for answer in answers] == [(ANNA, "7", pid)]
    assert notes[0].startswith("1 processes of this machine are of session")
    group, _ = machine.ask(None, session=os.getpgid(pid))
    assert [answer.pid for answer in group] == [pid]
    assert machine.ask(None, session=LARGEST_PID)[0] == []


def test_pbs_says_of_which_session_a_job_was(machine, url):
    machine.url = url
    fields = "user=x session=4711 end=1"
    job = Job("pbs", "head", "12", now(), 0, LENT, None, now(), None, "ENDED", "0", 0, 0, 0, "n1", "", fields=fields)
    with open_store(machine.url).transaction() as connection:
        collect.rows.upsert(connection, schema.batch_jobs, [job._asdict()])
    assert [answer.job for answer in machine.ask(None, session=4711)[0]] == ["12"]
    assert machine.ask(None, session=471)[0] == []


@pytest.mark.parametrize(
    ("path", "pointed"),
    [
        ("/sys/fs/cgroup/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0", ("4711", None)),
        ("/slurm_n1/uid_2101/job_4711/step_batch", ("4711", 2101)),
        ("/slurm/uid_2101", (None, 2101)),
        ("/pbs_jobs.service/jobid/12.head.example.org", ("12", None)),
        (f"/system.slice/slurmstepd.scope/job_4711/gridwarden-payload-{PAYLOAD}", (PAYLOAD, None)),
    ],
)
def test_a_control_group_names_its_job(path, pointed):
    assert of_cgroup(path) == pointed


@pytest.mark.parametrize("path", ["/", "/system.slice/cron.service", "/user.slice/user-1000.slice"])
def test_a_control_group_of_no_job_is_not_taken_for_one(path):
    with pytest.raises(BadQuestion):
        of_cgroup(path)


def test_an_incident_sheet_has_people_credentials_evidence_of_all_levels_and_where_else_they_were(machine):
    machine.lend(credential="1f/DC=org/DC=example/CN=CA")
    machine.start("5")
    machine.end("5")
    machine.hold()
    machine.enter("7")
    pid = machine.step("7")
    machine.record("gap", what="job start of slurm job 8", reason="disk", bytes=None, sha256=None)
    machine.lend(account=GUEST, subject=BELA, lease=OTHER_LEASE)
    time.sleep(1.1)  # sacct says whole seconds
    machine.collect()
    machine.collect_jobs(row(JobIDRaw="9", User=GUEST), row(JobIDRaw="10", User="cms099", AdminComment=OTHER_LEASE))
    machine.collect_jobs(row(JobIDRaw="11", User="cms099", AdminComment=machine.stamp_of("cms099", BELA)))
    living, _ = machine.ask(str(pid))
    past, notes = machine.ask("-1h..now")
    sheet = machine.sheet([*living, *past], notes)
    assert {level for level in evidence.LEVELS if f"evidence {level}: " in sheet} == set(evidence.LEVELS)
    assert f"1. {ANNA}   (x509)" in sheet
    assert "issuer      /DC=org/DC=example/CN=CA" in sheet
    assert "credential  1f/DC=org/DC=example/CN=CA" in sheet
    of_five, _ = machine.ask(None, job="5")
    elsewhere = machine.sheet(of_five, [])
    assert "elsewhere from" in elsewhere
    (itself,) = [line for line in machine.sheet(living, []).splitlines() if "slurm job 7" in line]
    assert f"pid {pid}" in itself, "the job that it is in is not elsewhere"
    (line,) = [line for line in machine.sheet(living, []).splitlines() if "slurm job 5" in line]
    assert line.strip().startswith(f"account {LENT}, slurm job 5, on n1, from ")


def test_whoever_had_a_pid_is_named_with_the_credential_of_then_and_not_with_those_before_and_after(machine):
    for serial in range(30):
        machine.lend(credential=f"{serial}/CN=CA")
    machine.start("7")
    began = now()
    machine.lend(credential="jti=renewed")
    machine.kill(5, began)
    machine.lend(credential="later")
    for collected in (False, True):
        if collected:
            machine.collect()
        found, notes = machine.ask("5")
        (answer,) = found
        assert answer.because.endswith("; credential 29/CN=CA, jti=renewed")
        shown = [line.split()[1] for line in machine.sheet(found, notes).splitlines() if "credential  " in line]
        assert shown == ["29/CN=CA", "jti=renewed"]


def test_each_of_two_whom_a_payloads_credentials_name_is_shown_with_their_own(machine):
    machine.payload("payload_start", also=MALLORY)
    time.sleep(0.01)
    machine.kill(5, now(), OTHER_LEASE, GUEST, "payload", PAYLOAD)
    found, _ = machine.ask("5")
    shown = {answer.identity: answer.because.rpartition("; ")[2] for answer in found}
    assert shown == {BELA: "credential 1f/CN=CA", MALLORY: "credential jti=1"}


def test_each_person_of_a_sheet_was_where_they_were_and_nobody_else(machine):
    for job, account, subject, lease in (("5", LENT, ANNA, LEASE), ("6", GUEST, BELA, OTHER_LEASE)):
        machine.start(job, account, subject, lease)
        machine.start(f"1{job}", account, subject, lease, node="n2")
    found, notes = machine.ask("-1h..now", node="n1")
    anna, bela = machine.sheet(found, notes).split("2. ")
    for text, own, others in ((anna, "15", "16"), (bela, "16", "15")):
        assert f"slurm job {own}, on n2" in text.split("elsewhere from")[1]
        assert f"slurm job {others}," not in text


def test_a_sheet_says_what_could_not_be_asked_when_the_store_is_down(machine):
    machine.lend()
    machine.start("7")
    machine.url = "sqlite:////nonexistent/store.sqlite"
    answers, notes = machine.ask("-1h..now")
    sheet = machine.sheet(answers, notes)
    assert f"1. {ANNA}   (x509)" in sheet
    assert "not other nodes, not the batch system's own accounting" in sheet


def test_no_name_on_a_sheet_moves_the_terminal(machine):
    machine.lend(subject="/CN=\x1b[2JEvil\n1. /CN=Somebody Else")
    machine.start("7", subject="/CN=\x1b[2JEvil\n1. /CN=Somebody Else")
    answers, notes = machine.ask("-1h..now")
    sheet = machine.sheet(answers, notes)
    assert "\x1b" not in sheet
    assert not [line for line in sheet.splitlines() if line.startswith("1. /CN=Somebody")]


def test_an_account_of_a_slot_is_whoevers_job_the_slot_had_then(machine):
    """HTCondor ran two people's jobs under one account, one after the other."""
    begin = now() - 3_600_000_000
    for number, (account, subject, lease) in enumerate(((LENT, ANNA, LEASE), (GUEST, BELA, OTHER_LEASE))):
        since, until = begin + number * 1_000_000_000, begin + (number * 1000 + 900) * 1_000_000
        job = Job("htcondor", "ce", f"{number}.0", since, 0, account, None, since, until, "COMPLETED", "0:0", 0, 0, 0, "n1", "",
                  scheme="x509", subject=subject, slot="slot1_1")  # fmt: skip
        body = {"kind": "lease", "time": begin - 1, "account": account, "lease": lease, "name": "n", "scheme": "x509",
                "subject": subject, "vo": "cms"}  # fmt: skip
        line = {"ledger": "ce", "seq": number, "hash": "h", "digest": "d", "kind": "lease", "time": begin - 1,
                "account": account, "lease": lease, "body": json.dumps(body)}  # fmt: skip
        with open_store(machine.url).transaction() as connection:
            collect.rows.upsert(connection, schema.batch_jobs, [job._asdict()])
            collect.rows.insert_new(connection, schema.records, [line])
    slots = Accounting(slot_accounts=[{"account": "slot01", "slot": "slot1_1"}])
    machine.node = machine.node._replace(slot_account=slots.slot_account)
    for at, subject in ((begin + 500_000_000, ANNA), (begin + 1_500_000_000, BELA)):
        answer = only(machine.ask(f"@{at / 1e6:.6f}", account="slot01", node="n1"))
        assert (answer.identity, answer.account, answer.evidence) == (subject, "slot01", evidence.DECLARED)
        assert "it ran in slot1_1, whose account that is" in answer.because
        assert "only its ad says when and where it ran, which its owner can change" in answer.because
    assert machine.ask(f"@{(begin + 950_000_000) / 1e6:.6f}", account="slot01")[0] == []


def test_a_job_of_htcondors_under_an_account_of_its_own_is_no_better_known_than_its_owners_word(machine):
    for batch, level in (("pbs", evidence.BATCH), ("htcondor", evidence.DECLARED)):
        job = Job(batch, "ce", "5.0", 1, 0, "daemon", None, 1, 2, "COMPLETED", "0:0", 0, 0, 0, "n1", "")
        with open_store(machine.url).transaction() as connection:
            collect.rows.upsert(connection, schema.batch_jobs, [job._asdict()])
        answer = next(each for each in machine.ask(None, job="5.0")[0] if each.batch == batch)
        assert (answer.identity, answer.evidence) == ("daemon", level)
