"""On the running site: what squeue, sacct, id and /proc say is what collect, report and whoran say."""

from __future__ import annotations

import json
import os
import pwd
import re
import sqlite3
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import chain, proc

if TYPE_CHECKING:
    from types import ModuleType, SimpleNamespace

LEDGER = "/var/lib/gridwarden/ledger"
STORE = "/var/lib/gridwarden/store.sqlite"
BURN = "python3 -c 'import time\nwhile time.process_time() < {seconds}: pass'"


def gridwarden(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["gridwarden", *words], capture_output=True, text=True, check=True)


def submit(person: SimpleNamespace, script: str, *options: str) -> int:
    command = ["gridwarden", "submit", "slurm", "--proxy", str(person.proxy), *options]
    done = subprocess.run(command, input=f"#!/bin/bash\n{script}\n", capture_output=True, text=True, check=True)
    return int(done.stdout)


def whoran(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["whoran", *words, "--format", "json"], capture_output=True, text=True, check=False)
    answers = json.loads(done.stdout)
    assert done.returncode == (0 if any(answer["account"] for answer in answers) else 1), done.stderr
    return answers


def report(since: float, *words: str) -> dict[str, int]:
    """CPU microseconds by identity (or what --by says), and by the name of each sum."""
    done = gridwarden("report", "--since", f"@{since:.6f}", "--format", "json", *words)
    names = [word for word in words if word in {"identity", "vo", "account"}]
    return {row[names[0]] or row["row"]: row["cpu_microseconds"] for row in json.loads(done.stdout)}


def sacct_total(since: float) -> int:
    """The CPU of all jobs that ended since then, in microseconds, as sacct itself prints it."""
    # With -X, "allocations only", every TotalCPU is 0: Slurm adds jobs up from their steps.
    command = ["sacct", "-aDPn", "-S", f"uts{int(since)}", "--format=JobIDRaw,End,TotalCPU", "--delimiter= "]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "SLURM_TIME_FORMAT": "%s"}
    ).stdout.splitlines()
    jobs = [(end, cpu) for name, end, cpu in map(str.split, lines) if "." not in name]
    return sum(microseconds(cpu) for end, cpu in jobs if end != "Unknown" and int(end) >= since)


def microseconds(text: str) -> int:
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return round(seconds * 1e6)


def sleeper(account: str, seconds: int) -> proc.Process | None:
    """The process of an account that sleeps that long."""
    for process in proc.owned_by(pwd.getpwnam(account).pw_uid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it may be ending
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
            if words[:2] == [b"sleep", str(seconds).encode()]:
                return process
    return None


def records(kind: str, **fields: object) -> list[dict[str, Any]]:
    return [line.body for line in chain.read(LEDGER) if {"kind": kind, **fields}.items() <= line.body.items()]


def test_every_cpu_second_of_sacct_is_somebodys_or_said_to_be_nobodys(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    since = int(time.time())
    jobs = [
        submit(people.anna, BURN.format(seconds=1.5)),
        submit(people.chen, f"{BURN.format(seconds=0.7)}\nsrun {BURN.format(seconds=0.4)}"),
        slurm.submit("alice", BURN.format(seconds=0.5)),
    ]
    burnt = f"burnt-{since}"  # one of its own: the account's home stays
    requeued = submit(people.anna, f"[ -e {burnt} ] && exit\n{BURN.format(seconds=0.3)}\ntouch {burnt}\nsleep 300")
    account = slurm.job(requeued)["user_name"]
    slurm.until("the job to have burnt", (Path(pwd.getpwnam(account).pw_dir) / burnt).exists)
    subprocess.run(["scontrol", "requeue", str(requeued)], check=True)
    slurm.run_again(requeued)
    for job in [*jobs, requeued]:
        slurm.wait(job)
        slurm.accounted(job)
    gridwarden("collect")

    by_identity = report(since, "--by", "identity")
    total = by_identity["total"]
    assert total == sacct_total(since)
    assert sum(by_identity.values()) == 2 * total
    assert by_identity[people.anna.subject] >= 1_500_000 + 300_000
    assert by_identity[people.chen.subject] >= 700_000
    assert by_identity["unattributed"] >= 500_000
    for by in ("vo", "account"):
        sums = report(since, "--by", by)
        assert (sums["total"], sum(sums.values())) == (total, 2 * total)
    assert report(since, "--by", "vo")["atlas"] == by_identity[people.chen.subject]
    assert report(since, "--by", "account")[account] == by_identity[people.anna.subject]

    chart = gridwarden("report", "--since", f"@{since}", "--by", "identity", "--chart").stdout
    assert re.search(r"CN=Anna Example +█+", chart)


def test_collecting_twice_counts_nothing_twice(slurm: ModuleType, people: SimpleNamespace) -> None:
    slurm.until("no job to run", lambda: not subprocess.check_output(["squeue", "--noheader"]))
    slurm.accounted(submit(people.anna, "true"))  # and with its end slurmdbd has that of those before it
    gridwarden("collect")
    before = sums()
    said = gridwarden("collect", "--since", "2026-01-01").stdout
    assert "slurm:site" in said
    assert {name: sums()[name] for name in ("batch_jobs", "batch_steps")} == {
        name: before[name] for name in ("batch_jobs", "batch_steps")
    }
    assert chain.acknowledged(LEDGER) == sums()["records"][0]


def sums() -> dict[str, tuple[int, ...]]:
    connection = sqlite3.connect(f"file:{STORE}?mode=ro", uri=True)
    try:
        return {
            "records": connection.execute("SELECT count(*) FROM records").fetchone(),
            "batch_jobs": connection.execute("SELECT count(*), sum(total_cpu) FROM batch_jobs").fetchone(),
            "batch_steps": connection.execute("SELECT count(*), sum(total_cpu) FROM batch_steps").fetchone(),
        }
    finally:
        connection.close()


def test_a_process_deep_in_a_job_leads_to_the_person(slurm: ModuleType, people: SimpleNamespace) -> None:
    job = submit(people.anna, "bash -c 'bash -c \"sleep 311; true\"; true'")
    try:
        account = slurm.wait(job, {"RUNNING"})["user_name"]
        process = slurm.until("the sleep", lambda: sleeper(account, 311))
        (answer,) = whoran(str(process.pid))
        assert answer["identity"] == people.anna.subject
        assert answer["account"] == account == pwd.getpwuid(process.real_uid).pw_name
        assert answer["evidence"] == "kernel-measured"
        squeue = ["squeue", "--noheader", "--jobs", answer["job"], "--format", "%i %u %N"]
        assert subprocess.run(squeue, capture_output=True, text=True, check=True).stdout.split() == [
            str(job), account, answer["node"],
        ]  # fmt: skip
        assert process.pid in slurm.pids(job, answer["node"])
    finally:
        slurm.cancel(job)
        slurm.wait(job)


def test_a_local_users_process_is_not_given_to_a_grid_identity(slurm: ModuleType) -> None:
    job = slurm.submit("alice", "sleep 312")
    try:
        process = slurm.until("the sleep", lambda: sleeper("alice", 312))
        (answer,) = whoran(str(process.pid))
        assert (answer["identity"], answer["account"], answer["job"]) == ("alice", "alice", str(job))
    finally:
        slurm.cancel(job)
        slurm.wait(job)


def test_a_stray_is_known_while_it_lives_and_after_the_epilog_killed_it(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    script = "setsid bash -c 'sleep 313 & true' > /dev/null 2>&1\nsleep 314"
    job = submit(people.chen, script)
    account = slurm.wait(job, {"RUNNING"})["user_name"]
    stray = slurm.until("the stray", lambda: sleeper(account, 313))
    slurm.until("it to have lost its parents", lambda: proc.read(stray.pid).parent == 1)
    (answer,) = whoran(str(stray.pid))
    assert (answer["identity"], answer["account"], answer["job"]) == (people.chen.subject, account, str(job))
    assert answer["evidence"] == "lease history"
    slurm.cancel(slurm.until("the job", lambda: job))
    slurm.wait(job)
    slurm.until("the kill's record", lambda: records("kill", pid=stray.pid))
    slurm.until("it to be gone", lambda: proc.read(stray.pid) is None)
    for collected in (False, True):
        if collected:
            gridwarden("collect")
        (answer,) = whoran(str(stray.pid))
        assert (answer["identity"], answer["account"], answer["job"]) == (people.chen.subject, account, str(job))
        assert answer["until"] is not None


def test_a_moment_gone_by_shows_the_jobs_that_squeue_showed_then(slurm: ModuleType, people: SimpleNamespace) -> None:
    jobs = [submit(people.anna, "sleep 315"), submit(people.chen, "sleep 316")]
    for job in jobs:
        account = slurm.wait(job, {"RUNNING"})["user_name"]
        slurm.until("its process", lambda account=account, job=job: sleeper(account, 315 + jobs.index(job)))
    moment = f"@{time.time():.6f}"
    squeue = ["squeue", "--noheader", "--states=RUNNING", "--format", "%i %u %N"]
    shown = subprocess.run(squeue, capture_output=True, text=True, check=True).stdout.splitlines()
    for job in jobs:
        slurm.cancel(job)
    for job in jobs:
        slurm.wait(job)
        slurm.accounted(job)
    for collected in (False, True):
        if collected:
            gridwarden("collect")
        answers = [answer for answer in whoran(moment) if answer["account"]]  # a gap that others left has none
        said = {f"{answer['job']} {answer['account']} {answer['node']}" for answer in answers}
        assert said == set(shown)
        assert {answer["identity"] for answer in answers} == {people.anna.subject, people.chen.subject}
        assert {answer["evidence"] for answer in answers} == {"batch"}
    assert {answer["job"] for answer in whoran("-10m..now", "--identity", "anna example")} >= {str(jobs[0])}
    assert whoran(moment, "--node", "nowhere") == []


def test_a_job_whose_prolog_recorded_nothing_is_still_found(slurm: ModuleType, people: SimpleNamespace) -> None:
    """As sacct has it, by the lease history; and with the gap said."""
    job = submit(people.anna, "sleep 1.5")
    slurm.wait(job)
    slurm.accounted(job)
    gridwarden("collect")
    connection = sqlite3.connect(STORE)
    with connection:
        connection.execute("DELETE FROM job_runs WHERE job = ?", (str(job),))
        connection.execute("DELETE FROM records WHERE kind = 'job_start' AND body LIKE ?", (f'%"job":"{job}"%',))
    connection.close()
    (answer,) = whoran("--job", str(job))
    assert (answer["identity"], answer["evidence"]) == (people.anna.subject, "lease history")


@pytest.mark.parametrize("words", [["02/03/2026"], ["23:59:59.5x"], ["tomorrow 10:00"], ["--nod", "n1"], []])
def test_a_question_that_is_not_clear_is_refused_in_one_line(words: list[str]) -> None:
    done = subprocess.run(["whoran", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
