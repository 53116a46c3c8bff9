"""A job's way through the real Slurm: what squeue, sacct, id and /proc say is what gridwarden says."""

from __future__ import annotations

import os
import pwd
import re
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import chain, holders, node_file, proc, reasons, register

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

HOLDERS = "/run/gridwarden/holders"
REGISTER = "/run/gridwarden/jobs"
LEDGER = "/var/lib/gridwarden/ledger"
HELD = "#SBATCH --hold\n"


def ce_submit(person: SimpleNamespace, script: str, *options: str) -> int:
    """What a CE does: root, with an environment of its own, hands the script over."""
    command = ["gridwarden", "submit", "slurm", "--proxy", str(person.proxy), *options]
    text = f"#!/bin/bash\n{script}\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def account_of(person: SimpleNamespace) -> str:
    done = subprocess.run(
        ["gridwarden", "map", "--proxy", str(person.proxy)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[0]


def records(kind: str, **fields: object) -> list[dict[str, Any]]:
    bodies = (line.body for line in chain.read(LEDGER))
    return [body for body in bodies if body["kind"] == kind and fields.items() <= body.items()]


def registered(account: str) -> list[str]:
    return [entry.job for entry in register.jobs_of(REGISTER, account)]


@contextmanager
def banned(person: SimpleNamespace) -> Iterator[None]:
    subprocess.run(["gridwarden", "ban", "add", person.subject, "--because", "a test"], check=True)
    try:
        yield
    finally:
        subprocess.run(["gridwarden", "ban", "remove", person.subject], check=True)


@contextmanager
def without_holder(account: str) -> Iterator[None]:
    holder = holders.read(HOLDERS, account)
    group = os.stat(HOLDERS).st_gid
    holders.remove(HOLDERS, account)
    try:
        yield
    finally:
        holders.publish(HOLDERS, holder, group)


@contextmanager
def choosing(key: str, value: str) -> Iterator[None]:
    before = node_file.read()
    pairs = [(name, one) for name, values in before.items() for one in values]
    node_file.write(node_file.PATH, [(name, value if name == key else one) for name, one in pairs])
    try:
        yield
    finally:
        node_file.write(node_file.PATH, pairs)


def release(job: int) -> None:
    subprocess.run(["scontrol", "release", str(job)], check=True)


def alive(account: str, command: str) -> list[proc.Process]:
    uid = pwd.getpwnam(account).pw_uid
    return [process for process in proc.owned_by(uid) if process.command == command]


@pytest.fixture(autouse=True)
def _nothing_left_running(slurm: ModuleType) -> Iterator[None]:
    yield
    if jobs("--states", "pending,running,completing"):
        subprocess.run(["scancel", *jobs("--states", "pending,running")], check=False, capture_output=True)
        slurm.until("the test's jobs to be gone", lambda: not jobs("--states", "pending,running,completing"))
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))


def jobs(*which: str) -> list[str]:
    command = ["squeue", "--noheader", "--format=%i", *(which or ("--states", "all"))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_job_runs_as_its_owner_and_with_nothing_of_the_caller(
    slurm: ModuleType, people: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", "secret-of-the-ce")
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    monkeypatch.setenv("SLURM_UMASK", "0777")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    before = os.umask(0o777)
    try:
        job = ce_submit(
            people.anna,
            "id > id; env > env; pwd > pwd; umask > umask; ulimit -n > nofile; exec sleep 300",
            "--job-name",
            "first",
        )
    finally:
        os.umask(before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    account = account_of(people.anna)
    user = pwd.getpwnam(account)
    home = Path(user.pw_dir)
    slurm.wait(job, {"RUNNING"})
    slurm.until("the job to say its limits", (home / "nofile").exists)
    slurm.until("the job to sleep", lambda: alive(account, "sleep"))
    node = slurm.job(job)["nodes"]
    (process,) = [one for pid in slurm.pids(job, node) if (one := proc.read(pid)) and one.command == "sleep"]
    assert (process.real_uid, process.effective_uid) == (user.pw_uid, user.pw_uid)
    squeue = subprocess.run(
        ["squeue", "-h", "-j", str(job), "-o", "%u %U %j"], capture_output=True, text=True, check=True
    )
    assert squeue.stdout.split() == [account, str(user.pw_uid), "first"]
    slurm.cancel(job)
    accounted = slurm.accounted(job)
    assert (accounted["user"], accounted["group"]) == (account, account)
    name = rf"\({account}\)"
    assert re.fullmatch(
        rf"uid={user.pw_uid}{name} gid={user.pw_gid}{name} groups={user.pw_gid}{name}\n", (home / "id").read_text()
    )
    environment = dict(line.split("=", 1) for line in (home / "env").read_text().splitlines() if "=" in line)
    assert "BEARER_TOKEN" not in environment
    assert (environment["HOME"], environment["USER"]) == (user.pw_dir, account)
    assert (home / "pwd").read_text().strip() == user.pw_dir
    assert (home / "umask").read_text().strip() == "0022"
    assert (home / "nofile").read_text().strip() != "200"


def test_what_the_hooks_record_of_a_job_is_what_slurm_says(slurm: ModuleType, people: SimpleNamespace) -> None:
    job = ce_submit(people.chen, "exit 3")
    account = account_of(people.chen)
    accounted = slurm.wait(job) and slurm.accounted(job)
    (start,) = records("job_start", job=str(job))
    slurm.until("the end to be recorded", lambda: records("job_end", job=str(job)))
    (end,) = records("job_end", job=str(job))
    lease = holders.read(HOLDERS, account).lease
    assert (start["account"], start["subject"], start["vo"]) == (accounted["user"], people.chen.subject, "atlas")
    assert start["lease"] == start["stamp"] == end["lease"] == lease
    assert start["evidence"] == "holder+link"
    assert start["node"] == end["node"] == accounted["nodes"]
    assert start["batch_start"] == accounted["time"]["start"]
    assert end["exit_code"] == "3:0"
    assert records("observation", account=account, lease=lease)
    assert registered(account) == []


def test_a_job_of_a_fixed_account_is_recorded_but_its_account_is_not_emptied(
    slurm: ModuleType, people: SimpleNamespace, grid: Any, tmp_path: Path
) -> None:
    proxy = tmp_path / "production.pem"
    grid.proxy(people.anna, proxy, fqans=("/cms/Role=production", "/cms"))
    production = type(people.anna)(**{**vars(people.anna), "proxy": proxy})
    with subprocess.Popen(["sleep", "300"], user="cmsprod") as service:
        try:
            job = ce_submit(production, "true")
            slurm.wait(job)
            slurm.until("the end to be recorded", lambda: records("job_end", job=str(job)))
            assert records("job_start", job=str(job), account="cmsprod", subject="cmsprod", scheme="local")
            assert service.poll() is None
        finally:
            service.kill()


def test_other_peoples_jobs_pass_untouched(slurm: ModuleType) -> None:
    # Whom a page has mapped somebody to, and who called the launcher in another story.
    Path(HOLDERS, "alice").unlink(missing_ok=True)
    shutil.rmtree("/run/gridwarden/jobs/alice", ignore_errors=True)
    go_on = Path("/run/alice-goes-on")
    job = slurm.submit("alice", f"touch /tmp/of-alice; until [ -e {go_on} ]; do sleep 0.1; done", "--extra", "mine")
    assert (slurm.job(job)["extra"], slurm.job(job)["admin_comment"]) == ("mine", "")
    assert slurm.run_as("alice", "scontrol", "update", f"jobid={job}", "extra=other").returncode == 0
    go_on.touch()
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    go_on.unlink()
    assert not [line for line in chain.read(LEDGER) if line.body.get("job") == str(job)]
    assert Path("/tmp/of-alice").exists()
    Path("/tmp/of-alice").unlink()


def test_an_account_that_nobody_holds_is_held_and_its_user_cannot_release_it(slurm: ModuleType) -> None:
    held = {holder.account for holder in holders.everyone(HOLDERS)}  # leases are of random accounts
    account = next(name for name in (f"cms{number:03d}" for number in range(1, 21)) if name not in held)
    job = slurm.submit(account, "true")
    waiting = slurm.job(job)
    assert (waiting["state_reason"], waiting["priority"]["number"]) == ("JobHeldUser", 0)
    for change in (["release", str(job)], ["update", f"jobid={job}", "priority=9"]):
        done = slurm.run_as(account, "scontrol", *change)
        assert "an administrator releases this job" in done.stderr
    assert slurm.run_as(account, "scontrol", "update", f"jobid={job}", "nice=5").returncode == 0
    assert slurm.job(job)["priority"]["number"] == 0
    assert slurm.state(job) == "PENDING"
    release(job)
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    (gap,) = [gap for gap in records("gap") if gap["what"] == f"start of slurm job {job}, account {account}"]
    assert gap["reason"].startswith(reasons.HOLDER_MISSING)
    slurm.until("the job to leave the register", lambda: not registered(account))


def test_a_banned_holders_job_never_runs_however_late_the_node_hears_of_it(
    slurm: ModuleType, people: SimpleNamespace, tmp_path: Path
) -> None:
    account = account_of(people.bela)
    ran = Path(pwd.getpwnam(account).pw_dir) / "ran-late"
    later = tmp_path / "scancel"  # what a busy slurmctld does: the request is taken, the node is told afterwards
    later.write_text('#!/bin/sh\n(sleep 2; exec /usr/bin/scancel "$@") >/dev/null 2>&1 &\n')
    later.chmod(0o755)
    job = ce_submit(people.bela, f"{HELD}touch {ran}")
    with choosing("slurm_programs", str(tmp_path)), banned(people.bela):
        release(job)
        assert slurm.wait(job)["job_state"] == ["CANCELLED"]
        slurm.until("the epilog", lambda: not registered(account))
    assert not ran.exists()
    slurm.until(
        "the nodes to be idle", lambda: [slurm.node_state(node) for node in ("n1", "n2")] == [["IDLE"], ["IDLE"]]
    )


@pytest.mark.parametrize(("choice", "state"), [("cancel", "CANCELLED"), ("requeue-held", "PENDING")])
def test_a_prolog_that_stops_an_arrays_last_task_leaves_the_others_running(
    slurm: ModuleType, people: SimpleNamespace, choice: str, state: str
) -> None:
    account = account_of(people.anna)
    array = ce_submit(people.anna, f"#SBATCH --array=1-2\n{HELD}exec sleep 305")
    subprocess.run(["scontrol", "release", f"{array}_1"], check=True)
    slurm.until("the first task to run", lambda: alive(account, "sleep"))
    (first,) = registered(account)
    assert first != str(array), "the last task has the array's own number"
    with choosing("prolog_on_failure", choice), without_holder(account):
        subprocess.run(["scontrol", "release", f"{array}_2"], check=True)
        what = {"cancel": "cancel", "requeue-held": "hold"}[choice]
        slurm.until("the second one to be stopped", lambda: records(what, job=str(array)))
        slurm.until("its epilog", lambda: registered(account) == [first])
    assert slurm.state(int(first)) == "RUNNING"
    command = ["squeue", "--all", "--array", "--noheader", "--states=all", f"--jobs={array}", "--format=%K %T"]

    def listed() -> list[str]:
        return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    slurm.until("slurmctld to know that it is over", lambda: listed() == ["1 RUNNING", f"2 {state}"])
    assert alive(account, "sleep")


def test_a_job_that_the_register_does_not_know_keeps_everything_alive(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    account = account_of(people.dora)
    lost = ce_submit(people.dora, "exec sleep 304", "--nodelist", "n2")
    slurm.until("the job to run", lambda: alive(account, "sleep"))
    register.leave(REGISTER, account, f"slurm.site.n2.{lost}")
    other = ce_submit(people.dora, "true", "--nodelist", "n1")
    slurm.wait(other)
    what = f"clean-up of slurm job {other}, account {account}"
    slurm.until("the gap to be recorded", lambda: records("gap", what=what))
    assert slurm.state(lost) == "RUNNING"
    assert alive(account, "sleep")
    slurm.cancel(lost)


def test_a_submission_is_not_lost_to_the_epilog_of_the_accounts_last_job(
    slurm: ModuleType, people: SimpleNamespace, tmp_path: Path
) -> None:
    account = account_of(people.dora)
    go_on = Path("/run/sbatch-goes-on")
    slow = Path("/opt/slow-slurm/sbatch")
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\nuntil [ -e {go_on} ]; do sleep 0.1; done; echo 42\n")
    slow.chmod(0o755)
    text = Path("/etc/gridwarden/site.yaml").read_text().replace("slurm:\n", f"slurm:\n  programs: {slow.parent}\n")
    (tmp_path / "site.yaml").write_text(text)
    job = slurm.submit(account, "sleep 300")
    slurm.until("the job to sleep", lambda: alive(account, "sleep"))
    command = ["gridwarden", "--config", str(tmp_path / "site.yaml"), "submit", "slurm", "--proxy"]
    script = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    try:
        with subprocess.Popen([*command, str(people.dora.proxy)], **script) as submission:
            submission.stdin.write("#!/bin/sh\n")
            submission.stdin.close()
            slurm.until("sbatch to run", lambda: alive(account, "sbatch"))
            slurm.cancel(job)
            slurm.until("the epilog", lambda: [p for p in proc.everyone() if p.command == "slurm-epilog"])
            assert registered(account) == [str(job)], "it waits"
            go_on.touch()
            assert (submission.stdout.read(), submission.wait()) == ("42\n", 0)
    finally:
        go_on.unlink(missing_ok=True)
        shutil.rmtree(slow.parent)
    slurm.until("the epilog to end", lambda: not registered(account))


def test_what_a_job_leaves_in_scratch_goes_and_nothing_else(slurm: ModuleType, people: SimpleNamespace) -> None:
    account = account_of(people.dora)
    home = Path(pwd.getpwnam(account).pw_dir)
    innocent = Path("/var/tmp/of-bob")
    innocent.touch()
    os.chown(innocent, pwd.getpwnam("bob").pw_uid, -1)
    job = ce_submit(
        people.dora,
        "touch kept; mkdir -p /tmp/d/e; touch /tmp/d/e/f; chmod 0 /tmp/d/e; ln -s $HOME /dev/shm/link; touch /var/tmp/g",
    )
    slurm.wait(job)
    paths = ["/dev/shm/link", "/tmp/d", "/var/tmp/g"]
    slurm.until("the files to go", lambda: not any(os.path.lexists(path) for path in paths))
    slurm.until("their records", lambda: len(records("removed", job=str(job))) == 3)
    assert [removed["path"] for removed in records("removed", job=str(job))] == paths
    assert innocent.exists()
    assert (home / "kept").exists()
    innocent.unlink()


def test_a_refused_submission_submits_and_lends_nothing(slurm: ModuleType, people: SimpleNamespace) -> None:
    before = jobs()
    leases = len(records("lease"))
    command = ["gridwarden", "submit", "slurm", "--proxy", str(people.anna.proxy)]
    script = b"#!/bin/sh\n"
    for words, text, reason in (
        (["--uid=0"], script, reasons.OPTION_NOT_ALLOWED),
        (["--wrap", "id"], script, reasons.OPTION_NOT_ALLOWED),
        (["--export=ALL"], script, reasons.OPTION_NOT_ALLOWED),
        (["--job-name", "a\nb"], script, reasons.OPTION_NOT_ALLOWED),
        (["--partition", "no-such"], script, reasons.SUBMIT_REJECTED),
        ([], b"", reasons.SCRIPT_EMPTY),
        ([], b"echo", reasons.SUBMIT_REJECTED),
        ([], script + b"x" * 100_000_000, reasons.SCRIPT_TOO_LARGE),
    ):
        done = subprocess.run([*command, *words], input=text, capture_output=True, check=False)
        assert done.returncode == 77, words
        assert done.stderr.startswith(f"gridwarden: {reason}: ".encode()), done.stderr
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, check=False)
    assert done.stderr.startswith(f"gridwarden: {reasons.SCRIPT_EMPTY}: ".encode()), done.stderr
    limited = [*command[:-1], str(people.anna.limited)]
    done = subprocess.run(limited, input=script, capture_output=True, check=False)
    assert done.stderr.startswith(f"gridwarden: {reasons.CREDENTIAL_LIMITED}".encode())
    assert set(jobs()) <= set(before)
    assert len(records("lease")) == leases


def test_a_dry_run_says_what_it_would_do_and_submits_nothing(slurm: ModuleType, people: SimpleNamespace) -> None:
    before = jobs()
    command = ["gridwarden", "submit", "slurm", "--proxy", str(people.anna.proxy), "--time", "5", "--dry-run"]
    done = subprocess.run(command, input="#!/bin/sh\n", capture_output=True, text=True, check=True)
    assert "/usr/bin/sbatch --time=5 --parsable" in done.stdout
    assert set(jobs()) <= set(before)
