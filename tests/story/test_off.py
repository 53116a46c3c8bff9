"""The knob for a bad night: a part is out of the way at once, everybody is told, and what was missed is on record."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gridwarden import chain, off, proc, reasons, register
from tests.site import launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType, SimpleNamespace

LEDGER, REGISTER, SYSLOG = "/var/lib/gridwarden/ledger", "/run/gridwarden/jobs", Path("/var/log/syslog")


@pytest.fixture(autouse=True)
def _everything_on(slurm: ModuleType) -> Iterator[None]:
    yield
    for part in off.PARTS:
        subprocess.run(["gridwarden", "on", part], check=True)
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))


def gridwarden(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["gridwarden", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def account_of(person: SimpleNamespace) -> str:
    return gridwarden("map", "--proxy", str(person.proxy)).stdout.split()[0]


def records(kind: str, **fields: object) -> list[dict[str, Any]]:
    return [
        line.body for line in chain.read(LEDGER) if line.body["kind"] == kind and fields.items() <= line.body.items()
    ]


def said(*words: str) -> list[str]:
    return [line for line in SYSLOG.read_text(errors="replace").splitlines() if all(word in line for word in words)]


def test_hooks_that_are_off_pass_every_job_even_a_banned_persons_and_say_so(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    account = account_of(people.anna)
    gridwarden("off", "hooks", "--because", "ticket 4711", "--for", "2h")
    gridwarden("ban", "add", people.anna.subject, "--because", "a test")
    try:
        job = slurm.submit(account, "true")
        assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    finally:
        gridwarden("ban", "remove", people.anna.subject)
    slurm.until("both hooks to say so", lambda: len(said(f"job={job}", "outcome=off", "ticket 4711")) == 2)
    assert records("job_start", job=str(job)) == []
    assert gridwarden("off", "--format", "csv").stdout.splitlines()[1].startswith("hooks,off,ticket 4711,")
    gridwarden("on", "hooks")
    assert [one["action"] for one in records("switch", part="hooks")][-2:] == ["off", "on"]
    first, last = [one for one in records("gap") if "ticket 4711" in one["reason"]][-2:]
    assert first["what"].startswith("starts and ends of jobs on this machine since")
    assert " until " in last["what"]
    begun, ended = [one["time"] for one in records("switch", part="hooks")][-2:]
    asked = subprocess.run(["whoran", f"@{(begun + ended) / 2e6:.6f}"], capture_output=True, text=True, check=False)
    assert "hooks switched off: ticket 4711" in asked.stdout
    job = slurm.submit(account, "true")
    slurm.wait(job)
    assert records("job_start", job=str(job))


def test_a_job_that_ended_while_hooks_were_off_does_not_count_as_running_for_ever(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    account = account_of(people.anna)
    job = slurm.submit(account, "sleep 300")
    slurm.until("the job to be registered", lambda: register.names_of(REGISTER, account))
    gridwarden("off", "hooks", "--because", "ticket 4712")
    slurm.cancel(job)
    slurm.wait(job)
    assert register.names_of(REGISTER, account)
    gridwarden("on", "hooks")
    assert not register.names_of(REGISTER, account)
    assert records("gap", what=f"end of slurm job {job}, account {account}")


def test_a_pruner_that_is_off_only_reports(settings: Callable[..., None], people: SimpleNamespace) -> None:
    account = account_of(people.anna)
    settings(prune={"kill": True})
    gridwarden("config", "install")
    try:
        gridwarden("off", "prune", "--because", "ticket 4713")
        with subprocess.Popen(["sleep", "300"], user=account, start_new_session=True) as stray:
            done = subprocess.run(["gridwarden-prune"], capture_output=True, text=True, check=False)
            assert (done.returncode, stray.poll()) == (1, None), done
            assert "ticket 4713: this only reports" in done.stderr
            gridwarden("on", "prune")
            subprocess.run(["gridwarden-prune"], capture_output=True, check=False)
            assert stray.wait(60) != 0
    finally:
        settings()
        gridwarden("config", "install")
    assert not [one for one in proc.owned_by(pwd.getpwnam(account).pw_uid) if one.command == "sleep"]


@pytest.mark.usefixtures("work")
def test_a_launcher_that_is_off_starts_nothing_and_says_why() -> None:
    gridwarden("off", "launcher", "--because", "ticket 4714")
    launcher.refused(launcher.call("/bin/true"), reasons.SWITCHED_OFF, launcher.SYSTEM)
    (switched,) = records("refused", reason=reasons.SWITCHED_OFF)[-1:]
    assert "ticket 4714" in switched["detail"]
    gridwarden("on", "launcher")
    assert launcher.call("/bin/true").returncode == 0


def test_switching_off_works_where_nothing_can_be_recorded_and_says_that() -> None:
    node = Path("/etc/gridwarden/node")
    kept = node.rename(node.with_name("node.kept"))
    try:
        done = gridwarden("off", "prune", "--because", "ticket 4715", code=74)
        assert "is not on record" in done.stderr
        assert off.switch(off.PRUNE)
    finally:
        kept.rename(node)


@pytest.mark.parametrize(
    "words",
    [
        ["off", "hooks"],
        ["off", "hooks", "--because", " "],
        ["off", "--because", "x"],
        ["off", "hooks", "--because", "x" * 1001],
        ["off", "hooks", "--because", "a\nb"],
    ],
)
def test_nothing_is_switched_off_without_saying_what_and_why(words: list[str]) -> None:
    gridwarden(*words, code=2)
    assert not any(os.path.lexists(off.path_of(part)) for part in off.PARTS)
