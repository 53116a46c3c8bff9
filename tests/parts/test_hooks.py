"""Prolog and epilog as real programs would run them, with real processes and files of spare uids."""

from __future__ import annotations

import fcntl
import mmap
import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import chain, holders, ledger, node_file, proc, reasons, register, trusted
from gridwarden.errors import ConfigurationError, EvidenceError, Refused
from gridwarden.hooks import clean_up, code_file, install, job, job_holder
from gridwarden.hooks.slurm import controller, node
from gridwarden.prune import recording
from tests.site_values import node_values

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

UID, OTHER_UID = 61001, 61002
START = 1795300691
ACCOUNT = "gwtest01"
LEASE = "0123456789abcdef0123456789abcdef"
# What slurmd 24.11.5 gave a Prolog, and an Epilog where it adds something.
EVENT = {
    "SLURMD_NODENAME": "n1",
    "SLURM_CLUSTER_NAME": "site",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
    "SLURM_JOBID": "2",
    "SLURM_JOB_CPUS_PER_NODE": "1",
    "SLURM_JOB_DERIVED_EC": "0",
    "SLURM_JOB_END_TIME": "1795300694",
    "SLURM_JOB_EXIT_CODE": "0",
    "SLURM_JOB_EXIT_CODE2": "0:0",
    "SLURM_JOB_EXTRA": LEASE,
    "SLURM_JOB_GID": str(UID),
    "SLURM_JOB_ID": "2",
    "SLURM_JOB_NODELIST": "n1",
    "SLURM_JOB_NUM_NODES": "1",
    "SLURM_JOB_OVERSUBSCRIBE": "OK",
    "SLURM_JOB_PARTITION": "main",
    "SLURM_JOB_RESTART_COUNT": "0",
    "SLURM_JOB_START_TIME": str(START),
    "SLURM_JOB_STDIN": "/dev/null",
    "SLURM_JOB_UID": str(UID),
    "SLURM_JOB_USER": ACCOUNT,
    "SLURM_JOB_WORK_DIR": "/home/gwtest01",
    "SLURM_SCRIPT_CONTEXT": "epilog_slurmd",
    "SLURM_UID": str(UID),
}


class Machine:
    """A node in a temporary directory: node file, ledger, holders, register, gridmapdir, spool, scratch."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for name in ("holders", "jobs", "locks", "ledger", "gridmapdir", "spool/n1", "scratch", "programs"):
            (base / name).mkdir(parents=True)
        (base / "scratch").chmod(0o1777)
        base.chmod(0o755)
        (base / "gridmapdir" / ACCOUNT).touch()
        os.link(base / "gridmapdir" / ACCOUNT, base / "gridmapdir" / "%2fcn%3danna")
        self.holder()
        self.configure()

    def configure(self, **changed: str) -> None:
        node_file.write(self.base / "node", list(node_values(self.base, **changed).items()))

    def holder(self, **changed: object) -> None:
        values: dict[str, Any] = {
            "account": ACCOUNT,
            "uid": UID,
            "gid": UID,
            "lease": LEASE,
            "name": "%2fcn%3danna",
            "scheme": "x509",
            "subject": "/CN=Anna",
            "vo": "cms",
            "fqans": ("/cms",),
            "since": 1,
            "inode": (self.base / "gridmapdir" / ACCOUNT).stat().st_ino,
        }
        holders.publish(self.base / "holders", holders.Holder(**(values | changed)))

    def program(self, name: str, text: str) -> None:
        path = self.base / "programs" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def stopping_program(self, name: str, revoked: int = 1 << 40) -> None:
        """A program that stops the job, as slurmd then knows (cred_state as 24.11 writes it), and is noted."""
        entry = [(2).to_bytes(4, "big"), *(time.to_bytes(8, "big") for time in (revoked, 1, 0x7FFFFFFF))]
        version, one, none = (42 << 8).to_bytes(2, "big"), (1).to_bytes(4, "big"), bytes(4)
        (self.base / "cred_state").write_bytes(b"".join([version, one, *entry, none]))
        note, tell = f'echo "{name} $*" >> {self.base}/called', f"cp {self.base}/cred_state {self.base}/spool/n1/"
        self.program(name, f"{note}\n{tell}")

    def run(self, context: str, **changed: str) -> int:
        code = node.run(context, EVENT | changed, str(self.base / "node"))
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0), "its deadline would ring for whoever comes next"
        return code

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [line.body for line in chain.read(self.base / "ledger") if line.body["kind"] == kind]

    def registered(self) -> list[str]:
        return [entry.job for entry in register.jobs_of(self.base / "jobs", ACCOUNT)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for parent in (tmp_path, *tmp_path.parents):  # pytest keeps its directories to root
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)

    def getpwnam(name: str) -> pwd.struct_passwd:
        if name == "gwtest09":
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", UID, UID, "", "/", "/bin/sh"))

    for module in (job_holder, clean_up):
        monkeypatch.setattr(module, "pwd", SimpleNamespace(getpwnam=getpwnam))
    return Machine(tmp_path)


@contextmanager
def running(*command: str, uid: int = UID) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, user=uid, group=uid, extra_groups=[], start_new_session=True, cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_a_job_start_is_on_disk_with_its_holder_before_the_job_starts(machine: Machine) -> None:
    before = (machine.base / "gridmapdir" / ACCOUNT).stat().st_mtime_ns
    assert machine.run("prolog") == 0
    (start,) = machine.records("job_start")
    wanted = {"job": "2", "lease": LEASE, "stamp": LEASE, "evidence": "holder+link", "batch_start": 1795300691}
    assert wanted.items() <= start.items()
    (seen,) = machine.records("observation")
    assert (seen["account"], seen["name"]) == (ACCOUNT, "%2fcn%3danna")
    assert machine.registered() == ["2"]
    assert (machine.base / "gridmapdir" / ACCOUNT).stat().st_mtime_ns > before, "the lease must stay fresh"


def test_where_the_gridmapdir_is_remote_the_hook_never_touches_it(machine: Machine) -> None:
    machine.configure(gridmapdir_local="no", gridmapdir="/nonexistent")
    assert machine.run("prolog") == 0
    assert machine.records("job_start")[0]["evidence"] == "holder"
    assert not machine.records("observation")


def test_the_end_of_a_job_says_who_holds_the_account_then_be_it_another(machine: Machine) -> None:
    assert machine.run("prolog") == 0
    assert machine.run("epilog") == 0
    assert [body["lease"] for body in machine.records("observation")] == [LEASE, LEASE]
    machine.configure(gridmapdir_local="no", gridmapdir="/nonexistent")
    assert machine.run("prolog") == 0
    machine.holder(lease="d" * 32)
    assert machine.run("epilog") == 0
    seen, end = machine.records("observation")[-1], machine.records("job_end")[-1]
    assert (seen["lease"], seen["inode"], end["lease"]) == ("d" * 32, None, LEASE)
    assert seen["time"] == end["time"]


def test_a_late_end_of_an_earlier_run_leaves_the_run_that_goes_on_in_the_register(machine: Machine) -> None:
    machine.run("prolog")
    machine.run("prolog", SLURM_JOB_RESTART_COUNT="1")
    machine.run("epilog")
    assert machine.registered() == ["2"]
    assert [(end["restart"], end["lease"]) for end in machine.records("job_end")] == [(0, "")]
    machine.run("epilog", SLURM_JOB_RESTART_COUNT="1")
    assert machine.registered() == []


@pytest.mark.parametrize(("choice", "code"), [("record-gap", 0), ("cancel", 1), ("requeue-held", 1), ("drain", 1)])
def test_a_prolog_that_waits_without_end_ends_by_itself_and_lets_no_job_run_that_may_not(
    machine: Machine, choice: str, code: int
) -> None:
    machine.configure(prolog_on_failure=choice, hook_seconds="1")
    machine.program("scancel", "sleep 60")
    machine.program("scontrol", "sleep 60")
    machine.program("squeue", "sleep 60")
    with (machine.base / "ledger/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.run("prolog") == code


def test_a_banned_job_does_not_start_because_its_prolog_ran_out_of_time(machine: Machine) -> None:
    machine.holder(verdict="banned", because="a test")
    machine.configure(hook_seconds="1")
    for program in ("scancel", "scontrol", "squeue"):
        machine.program(program, "sleep 60")
    assert machine.run("prolog") == 1


def test_an_epilog_that_waits_without_end_ends_by_itself(machine: Machine) -> None:
    machine.run("prolog")
    machine.configure(hook_seconds="1", epilog_on_failure="drain")
    with (machine.base / "ledger/lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.run("epilog") == 1


def test_a_job_that_begins_and_ends_as_usual_asks_no_controller_and_no_other_program(machine: Machine) -> None:
    for name in ("scancel", "scontrol", "squeue", "sacct"):
        machine.program(name, f"echo {name} >> {machine.base}/called")
    assert (machine.run("prolog"), machine.run("epilog")) == (0, 0)
    assert (len(machine.records("job_start")), len(machine.records("job_end"))) == (1, 1)
    assert not (machine.base / "called").exists()


def test_users_who_are_not_of_the_grid_are_left_alone(machine: Machine) -> None:
    for user in ("alice", "gwtest", "gwtestx1", "gwtest\u0661", "xgwtest01", "DOMAIN\\user", "../gwtest01"):
        assert machine.run("prolog", SLURM_JOB_USER=user) == 0
        assert machine.run("epilog", SLURM_JOB_USER=user) == 0
    assert not os.listdir(machine.base / "jobs")
    assert not os.listdir(machine.base / "ledger")


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "SLURM_JOB_UID", "SLURMD_NODENAME"])
@pytest.mark.parametrize("value", ["", "../x", "1 2", "-1", "\n"])
def test_variables_that_are_not_slurmds_name_no_file(machine: Machine, variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        machine.run("prolog", **{variable: value})


def test_a_fault_of_ours_does_not_drain_the_node(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_file, "PATH", str(machine.base / "absent"))
    assert node.main("prolog") == node.main("epilog") == 0


def failure(machine: Machine, reason: str) -> None:
    (gap,) = machine.records("gap")
    assert gap["what"] == f"start of slurm job 2, account {ACCOUNT}"
    assert gap["reason"].startswith(reason), gap
    assert not machine.records("job_start")
    assert machine.registered() == ["2"], "a job that may run must be in the register, or a clean-up would hit it"


def test_a_job_of_an_account_that_nobody_holds_is_a_gap(machine: Machine) -> None:
    holders.remove(machine.base / "holders", ACCOUNT)
    assert machine.run("prolog") == 0
    failure(machine, reasons.HOLDER_MISSING)


def test_a_holder_file_for_another_uid_is_not_believed(machine: Machine) -> None:
    machine.holder(uid=OTHER_UID)
    assert machine.run("prolog") == 0
    failure(machine, reasons.HOLDER_INVALID)


def test_a_holder_file_that_others_could_write_is_not_believed(machine: Machine) -> None:
    (machine.base / "holders" / ACCOUNT).chmod(0o666)
    assert machine.run("prolog") == 0
    failure(machine, reasons.HOLDER_INVALID)


def test_a_job_submitted_under_another_lease_is_not_put_down_to_the_present_holder(machine: Machine) -> None:
    assert machine.run("prolog", SLURM_JOB_EXTRA="f" * 32) == 0
    failure(machine, reasons.STAMP_MISMATCH)


def test_what_is_not_a_lease_id_is_not_taken_for_a_stamp(machine: Machine) -> None:
    assert machine.run("prolog", SLURM_JOB_EXTRA="my own note") == 0
    assert machine.records("job_start")[0]["stamp"] == ""


@pytest.mark.parametrize("change", ["gone", "relinked", "third"])
def test_a_lease_that_changed_behind_our_back_is_noticed(machine: Machine, change: str) -> None:
    directory = machine.base / "gridmapdir"
    if change == "third":
        os.link(directory / ACCOUNT, directory / "%2fcn%3deve")
    else:
        (directory / "%2fcn%3danna").unlink()
    if change == "relinked":
        (directory / "gwtest02").touch()
        os.link(directory / "gwtest02", directory / "%2fcn%3danna")
    assert machine.run("prolog") == 0
    failure(machine, reasons.HOLDER_NOT_LINKED)


def test_whom_another_program_lent_the_account_to_is_on_record_at_the_end_of_a_job_and_at_the_next_ones_start(
    machine: Machine,
) -> None:
    assert machine.run("prolog") == 0
    directory = machine.base / "gridmapdir"
    (directory / "%2fcn%3danna").unlink()
    os.link(directory / ACCOUNT, directory / "%2fcn%3deve")
    assert machine.run("epilog") == 0
    assert machine.run("prolog", SLURM_JOB_ID="3", SLURM_JOBID="3") == 0
    bodies = [line.body for line in chain.read(machine.base / "ledger")]
    inode = (directory / ACCOUNT).stat().st_ino
    seen = [(body["kind"], body.get("lease"), body.get("name"), body.get("inode")) for body in bodies]
    link = ("observation", "", "%2fcn%3deve", inode)
    assert seen[2:] == [link, ("job_end", LEASE, None, None), link, ("gap", None, None, None)]
    assert bodies[2]["time"] == bodies[3]["time"]


def test_all_names_that_the_account_is_linked_to_are_on_record_the_holders_own_as_well(machine: Machine) -> None:
    assert machine.run("prolog") == 0
    directory = machine.base / "gridmapdir"
    os.link(directory / ACCOUNT, directory / "%2fcn%3deve")
    os.link(directory / ACCOUNT, directory / "%2fcn%3dmallory")
    assert machine.run("epilog") == 0
    assert machine.run("prolog", SLURM_JOB_ID="3", SLURM_JOBID="3") == 0
    bodies = [line.body for line in chain.read(machine.base / "ledger")][2:]
    links = [("%2fcn%3danna", LEASE), ("%2fcn%3deve", ""), ("%2fcn%3dmallory", "")]
    seen = [[(body["name"], body["lease"]) for body in part] for part in (bodies[:3], bodies[4:7])]
    assert seen == [links, links]
    assert [body["kind"] for body in (bodies[3], bodies[7])] == ["job_end", "gap"]
    assert len({body["time"] for body in bodies[:4]}) == len({body["time"] for body in bodies[4:7]}) == 1


def test_a_lease_whose_link_is_merely_gone_is_put_down_to_nobody_else(machine: Machine) -> None:
    (machine.base / "gridmapdir" / "%2fcn%3danna").unlink()
    assert machine.run("prolog") == 0
    assert [line.body["kind"] for line in chain.read(machine.base / "ledger")] == ["gap"]


def test_an_account_without_a_passwd_entry_is_a_gap(machine: Machine) -> None:
    assert machine.run("prolog", SLURM_JOB_USER="gwtest09") == 0
    assert machine.records("gap")[0]["reason"].startswith(reasons.ACCOUNT_UNKNOWN)


def test_a_banned_holders_job_is_cancelled(machine: Machine) -> None:
    machine.holder(verdict=holders.BANNED, because="stolen key")
    machine.stopping_program("scancel")
    assert machine.run("prolog") == 0
    assert (machine.base / "called").read_text() == "scancel 2\n"
    (cancel,) = machine.records("cancel")
    assert (cancel["lease"], cancel["reason"]) == (LEASE, f"{reasons.BANNED}: stolen key")
    assert not machine.records("job_start")


def test_a_banned_holders_cron_job_is_cancelled_like_any_other_and_drains_no_node(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ScronParameters=explicit_scancel, scancel wants --cron, or this variable (24.11)."""
    monkeypatch.setattr(controller, "SECONDS", 10.0)
    machine.holder(verdict=holders.BANNED, because="stolen key")
    machine.stopping_program("scancel")
    scancel = machine.base / "programs/scancel"
    scancel.write_text(scancel.read_text().replace("\n", '\n[ "$SCANCEL_CRON" ] || exit 1\n', 1))
    assert machine.run("prolog") == 0


@pytest.mark.parametrize("broken", ["lock", "deadline", "register", "passwd"])
def test_a_banned_holders_job_does_not_run_because_something_else_fails_as_well(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    account = "gwtest09" if broken == "passwd" else ACCOUNT  # of which passwd knows nothing
    machine.holder(account=account, verdict=holders.BANNED, because="stolen key")
    machine.stopping_program("scancel")
    (machine.base / "locks" / account).touch()
    if broken == "lock":
        monkeypatch.setattr(job, "LOCK_SECONDS", 0.2)
    if broken == "deadline":
        machine.configure(hook_seconds="2")
    if broken == "register":
        (machine.base / "jobs").rmdir()
    with (machine.base / "locks" / account).open() as lock:
        if broken in ("lock", "deadline"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.run("prolog", SLURM_JOB_USER=account) == 0
    assert (machine.base / "called").read_text() == "scancel 2\n"
    (cancel,) = machine.records("cancel")
    assert (cancel["lease"], cancel["reason"]) == (LEASE, f"{reasons.BANNED}: stolen key")


@pytest.mark.parametrize("program", ["exit 1", "sleep 30", None])
def test_a_banned_holders_job_does_not_run_when_the_controller_is_away(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, program: str | None
) -> None:
    monkeypatch.setattr(controller, "SECONDS", 0.3)
    machine.holder(verdict=holders.BANNED, because="stolen key")
    if program:
        machine.program("scancel", program)
    assert machine.run("prolog") == 1, "only a failed prolog keeps slurmd from starting the job"


@pytest.mark.parametrize("revoked", [0, START - 1, START, START + 1])
def test_a_banned_holders_job_does_not_run_before_slurmd_knows_that_it_is_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, revoked: int
) -> None:
    monkeypatch.setattr(controller, "SECONDS", 0.3 if revoked < START else 10.0)
    machine.holder(verdict=holders.BANNED, because="stolen key")
    machine.stopping_program("scancel", revoked)
    assert machine.run("prolog") == (revoked < START), "an earlier run's, or none"


@pytest.mark.parametrize(
    ("choice", "code", "called"),
    [
        ("record-gap", 0, None),
        ("cancel", 0, "scancel 2"),
        ("requeue-held", 0, "scontrol requeuehold 2"),
        ("drain", 1, None),
    ],
)
def test_a_prolog_that_cannot_judge_does_what_the_site_chose(
    machine: Machine, choice: str, code: int, called: str | None
) -> None:
    holders.remove(machine.base / "holders", ACCOUNT)
    machine.configure(prolog_on_failure=choice)
    for program in ("scancel", "scontrol"):
        machine.stopping_program(program)
    assert machine.run("prolog") == code
    calls = machine.base / "called"
    assert (calls.read_text().strip() if calls.exists() else None) == called
    assert len(machine.records("gap")) == (called is None)
    assert len(machine.records("cancel")) == (choice == "cancel")
    assert len(machine.records("hold")) == (choice == "requeue-held")


def test_a_user_cannot_drain_a_node_with_a_job_that_cannot_be_requeued(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "SECONDS", 1.5)  # for scancel, too, which is to succeed in it
    holders.remove(machine.base / "holders", ACCOUNT)
    machine.configure(prolog_on_failure="requeue-held")
    machine.program("scontrol", "exit 1")
    machine.stopping_program("scancel")
    assert machine.run("prolog") == 0
    assert (machine.base / "called").read_text() == "scancel 2\n"
    (cancel,) = machine.records("cancel")
    assert cancel["reason"].startswith(reasons.HOLDER_MISSING)


@pytest.mark.parametrize(("choice", "code"), [("record-gap", 0), ("drain", 1)])
def test_an_epilog_that_cannot_do_its_work_does_what_the_site_chose(machine: Machine, choice: str, code: int) -> None:
    machine.configure(epilog_on_failure=choice)
    machine.run("prolog")
    (machine.base / "ledger").chmod(0o777)
    with running("sleep", "60") as process:
        assert machine.run("epilog") == code
        assert process.poll() is None, "nothing may be killed without a record"


def test_a_full_disk_loses_no_job_silently(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    monkeypatch.setattr(job.syslog_line, "decision", lambda *words, **fields: said.append((words, fields)))
    disk = machine.base / "ledger"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,mode=0700", "tmpfs", str(disk)], check=True)
    try:
        (disk / "filling").write_bytes(b"x" * 8192)
        assert machine.run("prolog") == 0
        assert [words for words, _ in said] == [("prolog", "unrecorded"), ("prolog", "record-gap")]
        assert said[1][1]["reason"] == EvidenceError.__name__
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert machine.registered() == ["2"]


@pytest.mark.parametrize(("choice", "code"), [("record-gap", 0), ("drain", 1)])
def test_a_hook_whose_ledger_somebody_keeps_locked_does_what_the_site_chose_and_names_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, choice: str, code: int
) -> None:
    said = []
    monkeypatch.setattr(job.syslog_line, "decision", lambda *words, **fields: said.append((words, fields)))
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.2)
    machine.configure(prolog_on_failure=choice)
    with (machine.base / "ledger/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.run("prolog") == code
    assert any(f"held for 0.2 s, by process {os.getpid()} " in str(fields) for _, fields in said)
    assert machine.registered() == ["2"]


def test_what_is_left_of_an_account_dies_with_its_last_job(machine: Machine) -> None:
    machine.run("prolog")
    ignore = "trap '' HUP INT TERM; while :; do sleep 60; done"
    with running("sleep", "60", uid=OTHER_UID) as other, running("sh", "-c", ignore) as stray:
        assert machine.run("epilog") == 0
        assert ended(stray)
        assert other.poll() is None
    (end,) = machine.records("job_end")
    assert (end["lease"], end["exit_code"]) == (LEASE, "0:0")
    assert stray.pid in [kill["pid"] for kill in machine.records("kill")]
    assert {kill["lease"] for kill in machine.records("kill")} == {LEASE}
    assert machine.registered() == []


def test_whoever_has_the_jobs_uid_here_is_not_killed_for_an_account_that_has_another(machine: Machine) -> None:
    """The controller's passwd and the node's may differ."""
    with running("sleep", "60", uid=OTHER_UID) as innocent:
        assert machine.run("epilog", SLURM_JOB_UID=str(OTHER_UID)) == 0
        assert innocent.poll() is None
    assert not machine.records("kill")
    _, gap = machine.records("gap")  # the first: no prolog had entered the job
    assert f"the job's uid was {OTHER_UID}, that of {ACCOUNT} is {UID} here" in gap["reason"]


def test_an_account_without_a_passwd_entry_is_left_as_it_is_and_that_is_a_gap(machine: Machine) -> None:
    with running("sleep", "60") as process:
        assert machine.run("epilog", SLURM_JOB_USER="gwtest09") == 0
        assert process.poll() is None
    assert "clean-up of slurm job 2, account gwtest09" in [gap["what"] for gap in machine.records("gap")]
    assert "gwtest09 has no passwd entry here" in [gap["reason"] for gap in machine.records("gap")]


def test_an_epilog_kills_and_removes_nothing_that_it_could_not_record(machine: Machine) -> None:
    machine.run("prolog")
    disk, file = machine.base / "ledger", machine.base / "scratch" / "file"
    file.touch()
    os.chown(file, UID, UID)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,size=1m", "ledger", disk], check=True)
    try:
        with running("sleep", "60") as stray:
            machine.run("epilog")
            assert stray.poll() is None
        assert file.exists()
        assert len(machine.records("job_end")) == 1, "a record of its own has room"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_site_that_wants_no_clean_up_by_the_epilog_keeps_everything(machine: Machine) -> None:
    machine.configure(prune_epilog="no")
    machine.run("prolog")
    with running("sleep", "60") as process:
        assert machine.run("epilog") == 0
        assert process.poll() is None
    assert len(machine.records("job_end")) == 1


def test_what_an_account_on_hold_leaves_is_kept_for_the_incident(machine: Machine) -> None:
    (machine.base / "holds").mkdir(mode=0o700)
    (machine.base / "holds" / ACCOUNT).write_text("ticket 4711")
    machine.configure(holds=str(machine.base / "holds"))
    machine.run("prolog")
    file = machine.base / "scratch" / "evidence"
    file.write_text("evidence")
    os.chown(file, UID, UID)
    with running("sleep", "60") as process:
        assert machine.run("epilog") == 0
        assert proc.read(process.pid).state == "T"
    assert not file.exists()
    (kept,) = machine.records("quarantined")
    assert Path(kept["into"]).read_text() == "evidence"
    (frozen,) = machine.records("frozen")
    assert (frozen["pid"], frozen["hold"], frozen["lease"]) == (process.pid, "ticket 4711", LEASE)


def test_processes_that_fork_faster_than_a_scan_reads_die_as_well(machine: Machine) -> None:
    machine.run("prolog")
    hops = mmap.mmap(-1, 8)
    hopper = os.fork()
    if hopper == 0:
        os.setsid()
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
        while True:
            if os.fork():
                os._exit(0)
            hops[:8] = (int.from_bytes(hops[:8]) + 1).to_bytes(8)
    os.waitpid(hopper, 0)
    while not any(hops):
        time.sleep(0.01)
    assert machine.run("epilog") == 0
    count = hops[:8]
    time.sleep(0.3)
    assert hops[:8] == count, "it hops on"


def test_another_job_of_the_account_keeps_everything_of_it_alive(machine: Machine) -> None:
    machine.run("prolog")
    machine.run("prolog", SLURM_JOB_ID="3", SLURM_JOBID="3", SLURMD_NODENAME="n2")
    (machine.base / "scratch" / "file").touch()
    os.chown(machine.base / "scratch" / "file", UID, UID)
    with running("sleep", "60") as process:
        assert machine.run("epilog") == 0
        assert process.poll() is None
        assert machine.run("epilog", SLURM_JOB_ID="3", SLURMD_NODENAME="n2") == 0
        assert ended(process)
    assert not (machine.base / "scratch" / "file").exists()


STEP = """\
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
if os.fork() == 0:
    os.setresgid({uid}, {uid}, {uid})
    os.setresuid({uid}, {uid}, {uid})
    os.execvp("sleep", ["sleep", "60"])
with open("/proc/self/comm", "w") as name:
    name.write(sys.argv[2])
print(flush=True)
time.sleep(60)
"""


@contextmanager
def step(machine: Machine, uid: int = UID, name: str = "python3") -> Iterator[list[proc.Process]]:
    """A job step as Slurm runs it: a daemon of root that listens in the spool, with a process of the user."""
    socket = machine.base / "spool" / "n1" / "n1_9.4294967291"
    command = [sys.executable, "-c", STEP.format(uid=uid), str(socket), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as daemon:
        daemon.stdout.readline()
        try:
            deadline = time.monotonic() + 60
            while not (found := [p for p in proc.owned_by(uid) if p.parent == daemon.pid and p.real_uid == uid]):
                assert time.monotonic() < deadline, "the step's process did not become the user"
                time.sleep(0.01)
            yield found
        finally:
            os.killpg(daemon.pid, 9)


def test_a_live_step_that_the_register_does_not_know_is_not_killed(machine: Machine) -> None:
    machine.run("prolog")
    with step(machine) as processes, running("sleep", "60") as stray:
        assert machine.run("epilog") == 0
        assert proc.read(processes[0].pid)
        assert stray.poll() is None
    (gap,) = machine.records("gap")
    assert gap["reason"] == "a job that is not in the register runs"


def test_a_step_of_someone_else_does_not_keep_strays_alive(machine: Machine) -> None:
    machine.run("prolog")
    with step(machine, OTHER_UID) as processes, running("sleep", "60") as stray:
        assert machine.run("epilog") == 0
        assert ended(stray)
        assert proc.read(processes[0].pid)


@pytest.mark.parametrize(("job", "cleared"), [("2", True), ("3", False)])
def test_an_epilog_that_slurm_runs_inside_the_job_clears_up_after_it(
    machine: Machine, job: str, *, cleared: bool
) -> None:
    """PrologFlags=RunInJob has the extern step's slurmstepd run it; the step of another job, of whomever, keeps all alive."""
    machine.run("prolog")
    with socket(AF_UNIX) as slurmstepd, running("sleep", "60") as stray:
        slurmstepd.bind(str(machine.base / "spool" / "n1" / f"n1_{job}.4294967292"))
        slurmstepd.listen()
        assert machine.run("epilog") == 0
        assert ended(stray) if cleared else stray.poll() is None
    assert bool(machine.records("gap")) is not cleared


def test_a_spool_that_cannot_be_read_means_that_nothing_is_killed(machine: Machine) -> None:
    machine.configure(slurm_spool=f"{machine.base}/absent/%n")
    machine.run("prolog")
    with running("sleep", "60") as process:
        assert machine.run("epilog") == 0
        assert process.poll() is None
    (gap,) = machine.records("gap")
    assert gap["reason"] == "it cannot be told what runs here"


def test_a_job_is_not_killed_because_site_yaml_names_another_spool(machine: Machine) -> None:
    machine.run("prolog")
    with step(machine, name="slurmstepd") as processes:
        (machine.base / "spool" / "n1").rename(machine.base / "elsewhere")
        assert machine.run("epilog") == 0
        assert proc.read(processes[0].pid)
    (gap,) = machine.records("gap")
    assert gap["reason"] == "a job that is not in the register runs"


def test_a_stray_that_calls_itself_slurmstepd_protects_nobody(machine: Machine) -> None:
    machine.run("prolog")
    with running("sh", "-c", "printf slurmstepd > /proc/$$/comm; sleep 60; true") as stray:
        while proc.read(stray.pid).command != "slurmstepd":
            time.sleep(0.01)
        assert machine.run("epilog") == 0
        assert ended(stray)


def test_a_dead_steps_socket_does_not_keep_strays_alive(machine: Machine) -> None:
    machine.run("prolog")
    with step(machine):
        pass
    with running("sleep", "60") as process:
        assert machine.run("epilog") == 0
        assert ended(process)


def test_the_next_job_waits_until_the_clean_up_is_over(machine: Machine) -> None:
    machine.run("prolog")
    with register.AccountLock(machine.base / "locks", ACCOUNT, 1) as lock:
        prolog = os.fork()  # not a thread: its deadline is a signal
        if prolog == 0:
            os.close(lock._descriptor)  # the lock is the parent's alone
            os._exit(machine.run("prolog", SLURM_JOB_ID="3"))
        time.sleep(0.2)
        assert os.waitpid(prolog, os.WNOHANG) == (0, 0)
        assert machine.registered() == ["2"]
    assert os.waitpid(prolog, 0) == (prolog, 0)
    assert machine.registered() == ["2", "3"]


def test_scratch_is_emptied_of_the_account_and_of_nothing_else(machine: Machine) -> None:
    machine.run("prolog")
    scratch = machine.base / "scratch"
    innocent = machine.base / "innocent"
    innocent.write_text("kept")
    innocent.chmod(0o666)
    script = f"""
        cd {scratch}; umask 000; touch 'odd
name' plain; mkdir -p deep/er/est; touch deep/er/est/file; chmod 0 deep/er; ln -s {innocent} link; mkfifo fifo
        ln -s {machine.base} deep/up
    """
    with running("sh", "-c", script) as process:
        process.wait()
    (scratch / "of-root").touch()
    (scratch / "mounted").mkdir()
    os.chown(scratch / "mounted", UID, UID)
    subprocess.run(["mount", "--bind", str(machine.base / "spool"), str(scratch / "mounted")], check=True)
    try:
        assert machine.run("epilog") == 0
    finally:
        subprocess.run(["umount", str(scratch / "mounted")], check=True)
    assert sorted(os.listdir(scratch)) == ["mounted", "of-root"]
    assert innocent.read_text() == "kept"
    assert (machine.base / "spool" / "n1").is_dir()
    paths = [removed["path"] for removed in machine.records("removed")]
    assert paths == [f"{scratch}/{name}" for name in ("deep", "fifo", "link", "odd\nname", "plain")]


def test_no_directory_is_too_deep_to_be_removed(machine: Machine) -> None:
    machine.run("prolog")
    with running("sh", "-c", f"cd {machine.base}/scratch; for i in $(seq 300); do mkdir d; cd d; done") as process:
        process.wait()
    assert machine.run("epilog") == 0
    assert not machine.records("gap")
    assert [removed["path"] for removed in machine.records("removed")] == [f"{machine.base}/scratch/d"]


def test_what_is_left_beyond_count_is_at_least_counted(machine: Machine) -> None:
    machine.run("prolog")
    for number in range(recording.MOST_RECORDS + 2):
        directory = machine.base / "scratch" / f"{number:04d}"
        (directory / "of-root" / "file").mkdir(parents=True)
        os.chown(directory, UID, UID)
    assert machine.run("epilog") == 0
    *each, more = machine.records("gap")
    assert len(each) == recording.MOST_RECORDS
    assert each[0]["what"].startswith(f"clean-up: {machine.base}/scratch/0000 of slurm job 2, account {ACCOUNT}")
    assert more["reason"] == "2 more are left"


def test_the_programs_start_an_interpreter_that_only_root_decides_about(machine: Machine) -> None:
    for file in install.plan(machine.base / "libexec", machine.base / "slurm", machine.base / "bin"):
        install.write([file])
        assert stat.S_IMODE(file.path.stat().st_mode) == file.mode
    prolog = machine.base / "libexec" / "slurm-prolog"
    first = prolog.read_text().splitlines()[0]
    assert first == f"#!{os.path.realpath(sys.executable)} -ISB"
    done = subprocess.run([prolog], env={}, capture_output=True, check=False)
    assert done.returncode == 0
    for name in ("prolog-slurmctld", "epilog-slurmctld", "task-prolog"):
        told = subprocess.run([prolog.with_name(f"slurm-{name}")], env=EVENT, capture_output=True, check=False)
        assert (told.returncode, told.stdout, told.stderr) == (0, b"", b""), name


def test_a_program_is_not_installed_over_code_that_others_can_change(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = machine.base / "library"
    for part in ("hooks/slurm", "batch", "prune"):
        (library / "gridwarden" / part).mkdir(parents=True)
    (library / "gridwarden" / "hooks").chmod(0o777)
    monkeypatch.setattr(install.gridwarden, "__path__", [str(library / "gridwarden")])
    with pytest.raises(ConfigurationError, match="can be written by others"):
        install.plan(machine.base / "libexec", machine.base / "slurm", machine.base / "bin")


PROLOG = {
    "", ".errors", ".holders", ".hooks", ".hooks.job", ".hooks.job_holder", ".hooks.slurm", ".hooks.slurm.deadline",
    ".hooks.slurm.node", ".hooks.slurm.variables", ".ledger", ".locks", ".node_file", ".pools", ".reasons", ".records", ".register", ".sha256",
    ".syslog_line", ".tab_file", ".trusted",
}  # fmt: skip
EPILOG = PROLOG | {
    ".batch", ".batch.evidence", ".batch.question", ".batch.slurm", ".batch.slurm_listing", ".batch.slurm_spool",
    ".become", ".child", ".holds", ".hooks.clean_up", ".ledger_room", ".off", ".payload_state", ".payloads", ".proc",
    ".prune", ".prune.births", ".prune.clear", ".prune.command_line", ".prune.count",
    ".prune.files", ".prune.holds", ".prune.kill", ".prune.lent", ".prune.mounts", ".prune.outcome", ".prune.reasons",
    ".prune.recording", ".prune.signals", ".prune.trace", ".values",
}  # fmt: skip
PROLOG_STANDARD = {
    "_collections_abc", "_json", "_stat", "errno", "fcntl", "gc", "genericpath", "os", "os.path", "posixpath",
    "pwd", "stat", "syslog", "_sha2" if sys.version_info >= (3, 12) else "_sha256",
}  # fmt: skip
TELLING = PROLOG - {".hooks.slurm.node"} | {".agent_client", ".hooks.slurm.telling", ".values"}
OWN = {"prolog": PROLOG, "epilog": EPILOG}
STANDARD = {"prolog": PROLOG_STANDARD, "epilog": PROLOG_STANDARD | {"_operator", "_socket", "resource", "select"}}
"""All that each loads: a module more is paid at every job, so whoever adds one here has measured it (bench/hooks.py)."""


def loading(directory: Path, module: str) -> str:
    """The beginning of a hook's program, up to where it calls ``main``, and the file that it loads from."""
    library, path = os.path.dirname(os.path.dirname(os.path.realpath(trusted.__file__))), directory / code_file.SLURM
    path.write_bytes(code_file.contents(library, code_file.NEEDED[code_file.SLURM]))
    text = install.loading(library, path, f"gridwarden.hooks.slurm.{module}")
    return f"import sys\nbare = set(sys.modules)\nimport os\n{text}"


@pytest.mark.parametrize("context", ["prolog", "epilog"])
def test_a_hook_loads_exactly_what_its_budget_pays_for(machine: Machine, context: str) -> None:
    """A whole job's hook, its record on disk, beside an interpreter that does nothing."""
    code = f"""{loading(machine.base, "node")}
from gridwarden.hooks.slurm import node
from gridwarden.hooks import job_holder
job_holder.pwd.getpwnam = lambda name: job_holder.pwd.struct_passwd((name, "x", {UID}, {UID}, "", "/", "/bin/sh"))
code = node.run({context!r}, {EVENT!r}, {str(machine.base / "node")!r})
print("\\n".join(set(sys.modules) - bare))
"""
    if context == "epilog":
        machine.run("prolog")
    (machine.base / "program").write_text(code)  # with -c, newer interpreters load linecache
    command = [os.path.realpath(sys.executable), "-ISB", str(machine.base / "program")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert machine.records("job_start" if context == "prolog" else "job_end")
    loaded = set(done.stdout.split())
    own = {name for name in loaded if name.startswith("gridwarden")}
    assert {name.removeprefix("gridwarden") for name in own} == OWN[context]
    assert loaded - own == STANDARD[context]


@pytest.mark.parametrize("context", ["prolog-slurmctld", "epilog-slurmctld", "task-prolog"])
def test_a_hook_that_tells_the_agent_loads_nothing_dear_and_holds_up_no_job(machine: Machine, context: str) -> None:
    """The agent listens, and never answers."""
    machine.configure(agent_socket=str(machine.base / "agent"))
    code = f"""{loading(machine.base, "telling")}
from gridwarden.hooks.slurm import telling
telling.node_file.PATH = {str(machine.base / "node")!r}
telling.syslog_line.decision = lambda *said, **fields: os.write(2, repr((said, fields)).encode())
telling.main({context!r})
print("\\n".join(set(sys.modules) - bare))
"""
    (machine.base / "program").write_text(code)
    command = [os.path.realpath(sys.executable), "-ISB", str(machine.base / "program")]
    with socket(AF_UNIX, SOCK_SEQPACKET) as silent:
        silent.bind(str(machine.base / "agent"))
        silent.listen()
        done = subprocess.run(command, env=EVENT, capture_output=True, text=True, check=True, timeout=60)
        assert "job\t2\n" in silent.accept()[0].recv(8192).decode()
    assert "'absent'" in done.stderr
    loaded = set(done.stdout.split())
    own = {name for name in loaded if name.startswith("gridwarden")}
    assert {name.removeprefix("gridwarden") for name in own} == TELLING
    assert loaded - own == PROLOG_STANDARD | {"_operator", "_socket"}


def test_five_hundred_prologs_at_once_all_leave_their_record(machine: Machine) -> None:
    children = []
    for number in range(1, 501):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = machine.run("prolog", SLURM_JOB_ID=str(number))
            finally:
                os._exit(code)
        children.append(child)
    assert {os.waitpid(child, 0)[1] for child in children} == {0}
    assert sorted(int(start["job"]) for start in machine.records("job_start")) == list(range(1, 501))
    assert not chain.faults(machine.base / "ledger")
    assert len(machine.registered()) == 500


def test_nobody_becomes_root_by_a_holder_file(machine: Machine) -> None:
    from gridwarden.become import become  # noqa: PLC0415 - only here

    for uid, gid, groups in ((0, UID, []), (UID, 0, []), (UID, UID, [0])):
        with pytest.raises(Refused, match=reasons.ACCOUNT_PRIVILEGED):
            become(uid, gid, groups)
    assert os.geteuid() == 0
    assert machine.registered() == []
