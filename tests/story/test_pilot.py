"""A pilot in the real Slurm runs several people's payloads: who is who, what is left, what was used, who is refused."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import proc, register
from tests.pruning import sleepers
from tests.site import pilot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

REGISTER = "/run/gridwarden/jobs"
# A pilot's scratch, which payloads may pass through, and its own credential.
BEGIN = "cd $(mktemp -d); chmod 711 .; export X509_USER_PROXY=$HOME/bela.pem\n"
AS = "GLEXEC_CLIENT_CERT=$HOME/{}.pem gridwarden-exec /bin/sh -c '{}'\n"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@pytest.fixture(autouse=True)
def me() -> Path:
    """The pilot's own proxy; those of three people lie beside it."""
    for person in ("anna", "chen", "dora"):
        pilot.proxy(person)
    return pilot.proxy(pilot.OWNER)


@pytest.fixture(autouse=True)
def _nothing_left_running(slurm: ModuleType) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--user", pilot.ACCOUNT], check=False)
    slurm.until("the epilogs", lambda: not register.everything(REGISTER))


def output(job: int) -> str:
    return (pilot.home() / f"slurm-{job}.out").read_text()


def run(slurm: ModuleType, script: str, *options: str, seconds: float = 60) -> tuple[int, str]:
    job = slurm.submit(pilot.ACCOUNT, BEGIN + script, *options)
    ended = slurm.wait(job, seconds=seconds)
    assert ended["job_state"] == ["COMPLETED"], output(job)
    return job, output(job)


def account_of(person: SimpleNamespace) -> str:
    command = ["gridwarden", "map", "--proxy", str(person.proxy)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def processes_of(account: str) -> list[proc.Process]:
    return list(proc.owned_by(pwd.getpwnam(account).pw_uid))


def launch(owner: str, *command: str, me: Path | None, **variables: str) -> subprocess.CompletedProcess[str]:
    return pilot.launch(*command, owner=pilot.home() / f"{owner}.pem" if owner else None, pilot=me, **variables)


@contextmanager
def banned(subject: str) -> Iterator[None]:
    subprocess.run(["gridwarden", "ban", "add", subject, "--because", "a test"], check=True)
    try:
        yield
    finally:
        subprocess.run(["gridwarden", "ban", "remove", subject], check=True)


def assert_refused(done: subprocess.CompletedProcess[str], code: int, reason: str) -> None:
    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(rf"gridwarden-exec: [^\n]+ \({reason}\)\n", done.stderr), done.stderr


def test_three_peoples_payloads_run_as_three_accounts_in_one_job_and_nothing_of_them_is_left(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    away = 'setsid sleep 4711 >/dev/null 2>&1 & (setsid sh -c "sleep 4712; :" >/dev/null 2>&1 &) ; sleep 0.3; id -un; id -u'
    script = AS.format("anna", "id -un; id -u") + AS.format("chen", away) + "echo left $(pgrep -fc 'sleep 471[12]')\n"
    job, said = run(slurm, script + AS.format("dora", "id -un; id -u"))
    words = said.split()
    accounts = {name: account_of(getattr(people, name)) for name in ("anna", "chen", "dora")}
    assert len(set(accounts.values())) == 3
    expected = {name: [account, str(pwd.getpwnam(account).pw_uid)] for name, account in accounts.items()}
    assert words == [*expected["anna"], *expected["chen"], "left", "0", *expected["dora"]]
    assert [processes_of(account) for account in accounts.values()] == [[], [], []]
    starts = pilot.records("payload_start", job=str(job))
    assert [start["account"] for start in starts] == [accounts[name] for name in ("anna", "chen", "dora")]


def test_the_records_of_a_payload_name_its_owner_and_the_pilot(slurm: ModuleType, people: SimpleNamespace) -> None:
    job, _ = run(slurm, "GLEXEC_ID=task-7 " + AS.format("anna", "exit 0"))
    (start,) = pilot.records("payload_start", job=str(job))
    (end,) = pilot.records("payload_end", payload=start["payload"])
    assert (start["batch"], start["name"]) == ("slurm", "task-7")
    assert (start["scheme"], start["subject"], start["vo"]) == ("x509", people.anna.subject, "cms")
    assert (start["pilot"], start["pilot_subject"]) == (pilot.ACCOUNT, people.bela.subject)
    assert (end["status"], end["signal"], end["account"]) == (0, None, start["account"])
    assert end["time"] > start["time"]


def test_cancelling_the_pilot_ends_its_payload_with_all_that_it_started_and_records_what_it_used(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    burning = 'setsid sh -c "while :; do :; done" & touch /tmp/burning; while :; do :; done'
    job = slurm.submit(pilot.ACCOUNT, BEGIN + AS.format("anna", burning))
    slurm.until("the payload to burn", Path("/tmp/burning").exists)
    account = account_of(people.anna)

    def used() -> float:
        stats = [
            Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            for process in processes_of(account)
        ]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS_PER_SECOND

    slurm.until("two seconds to be burnt", lambda: used() > 2)
    slurm.cancel(job)
    slurm.wait(job)
    slurm.until("its processes to be gone", lambda: not processes_of(account))
    (start,) = pilot.records("payload_start", job=str(job))
    (end,) = slurm.until("the record", lambda: pilot.records("payload_end", payload=start["payload"]))
    assert end["because"]
    assert (end["user"] + end["system"]) / 1e6 > 2


def test_records_of_payloads_and_the_pilots_own_cpu_time_are_what_sacct_counted(slurm: ModuleType) -> None:
    burn = "ulimit -S -t {}; while :; do :; done"
    own = f"( {burn.format(2)} ) 2>/dev/null\ntimes\n"
    both = AS.format("anna", burn.format(20))[:-1] + " &\n" + AS.format("chen", burn.format(20))[:-1] + " &\nwait\n"
    job, said = run(slurm, own + both, "--ntasks", "2", seconds=300)
    mine = sum(int(minutes) * 60 + float(rest) for minutes, rest in re.findall(r"(\d+)m([\d.]+)s", said))
    starts = pilot.records("payload_start", job=str(job))
    assert len(starts) == 2
    ends = [end for start in starts for end in pilot.records("payload_end", payload=start["payload"])]
    recorded = [(end["user"] + end["system"]) / 1e6 for end in ends]
    assert min(recorded) > 15, "a payload did not burn"
    total = slurm.accounted(job)["time"]["total"]
    counted = total["seconds"] + total["microseconds"] / 1e6
    # Launchers and guards look a few times a second, for as long as a busy machine makes it last.
    lasted = (max(end["time"] for end in ends) - min(start["time"] for start in starts)) / 1e6
    assert sum(recorded) + mine == pytest.approx(counted, abs=max(0.02 * counted, 0.01 * lasted))


def test_who_is_not_a_registered_pilot_starts_nothing(me: Path) -> None:
    mine = pilot.give(pilot.CREDENTIALS / "bela" / "proxy.pem", "bela.pem", "alice")
    owner = pilot.give(pilot.CREDENTIALS / "anna" / "proxy.pem", "anna.pem", "alice")
    done = pilot.launch("/usr/bin/id", owner=owner, pilot=mine, account="alice")
    assert (done.returncode, done.stdout) == (1, ""), "sudo's own refusal"
    rule = Path("/etc/sudoers.d/zz-too-wide")
    rule.write_text("ALL ALL = (root) NOPASSWD: /usr/libexec/gridwarden/exec\n")
    rule.chmod(0o440)
    try:
        assert_refused(pilot.launch("/usr/bin/id", owner=owner, pilot=mine, account="alice"), 203, "caller-not-listed")
    finally:
        rule.unlink()


def test_a_pilots_account_without_the_pilots_role_starts_nothing(me: Path) -> None:
    done = launch("chen", "/usr/bin/id", me=pilot.home() / "anna.pem")
    assert done.returncode == 203
    assert done.stdout == ""
    assert launch("chen", "/usr/bin/id", me=None).returncode == 201


def test_work_of_somebody_whom_no_rule_matches_does_not_run(me: Path) -> None:
    extra = Path("/etc/gridwarden/site.d/50-nobody.yaml")
    extra.parent.mkdir(exist_ok=True)
    extra.write_text('policy: [{fqan: "/atlas/*", pool: atlas}]\n')
    try:
        assert_refused(launch("anna", "/usr/bin/id", me=me), 203, "policy-no-match")
    finally:
        extra.unlink()


def test_a_payload_without_its_owners_credential_does_not_run(me: Path) -> None:
    done = launch("", "/usr/bin/id", me=me)
    assert (done.returncode, done.stdout) == (201, "")


def test_a_banned_owners_payload_does_not_run_and_the_pilot_goes_on(slurm: ModuleType, people: SimpleNamespace) -> None:
    with banned(people.anna.subject):
        _, said = run(slurm, AS.format("anna", "id -un") + "echo $?\n" + AS.format("chen", "id -un") + "echo $?\n")
    words = [line for line in said.splitlines() if not line.startswith("gridwarden-exec: ")]
    assert words == ["203", account_of(people.chen), "0"]


def test_a_banned_pilot_starts_nothing(me: Path, people: SimpleNamespace) -> None:
    with banned(people.bela.subject):
        assert_refused(launch("anna", "/usr/bin/id", me=me), 203, "banned")


def test_a_credential_that_others_could_read_is_not_taken(me: Path) -> None:
    pilot.give(pilot.CREDENTIALS / "anna" / "proxy.pem", "anna.pem", mode=0o644)
    assert_refused(launch("anna", "/usr/bin/id", me=me), 201, "credential-exposed")
    pilot.give(pilot.CREDENTIALS / "anna" / "proxy.pem", "anna.pem")
    os.chown(pilot.home() / "anna.pem", pwd.getpwnam("alice").pw_uid, -1)
    assert launch("anna", "/usr/bin/id", me=me).returncode == 201


def test_a_payload_reaches_neither_its_pilot_nor_another_payload(slurm: ModuleType, people: SimpleNamespace) -> None:
    """The payload of one tries everything against the pilot, and against the payload of another that runs beside it."""
    hidden = "umask 077; echo secret > $TMPDIR/secret; echo $TMPDIR $$ > /tmp/victim; exec sleep 600"
    attack = (
        "read where victim < /tmp/victim; "
        "cat $where/secret /home/pilotcms/bela.pem /home/pilotcms/anna.pem; ls $where; "
        "for pid in $victim $PPID 1 $(pgrep -u pilotcms) $(pgrep -u root sudo); do "
        "kill -KILL $pid; kill -STOP $pid; cat /proc/$pid/environ; cat /proc/$pid/mem; ls /proc/$pid/fd; "
        "done; sudo -n true; su -c true; echo tried"
    )
    script = (
        AS.format("anna", hidden)[:-1] + " &\n"
        "until [ -s /tmp/victim ]; do sleep 0.1; done\n"
        + AS.format("chen", attack)
        + "kill -0 $! && echo alive; kill $!; wait\n"
    )
    _, said = run(slurm, script)
    assert "tried\n" in said, said
    assert "alive\n" in said, said
    assert "secret\n" not in said
    assert "PRIVATE KEY" not in said
    allowed = [
        line
        for line in said.splitlines()
        if not re.search(r"denied|not permitted|no such|cannot|sudo|su:|must be", line, re.IGNORECASE)
    ]
    assert set(allowed) <= {"tried", "alive", ""}, allowed


def test_whoran_names_the_owner_of_a_payloads_process_and_not_the_pilot(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    job = slurm.submit(pilot.ACCOUNT, BEGIN + AS.format("anna", "exec sleep 300"))
    account = account_of(people.anna)
    slurm.until("the payload", lambda: [one for one in processes_of(account) if one.command == "sleep"])
    (process,) = [one for one in processes_of(account) if one.command == "sleep"]
    question = ["whoran", str(process.pid), "--format", "json"]
    done = subprocess.run(question, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [row["identity"] for row in rows] == [people.anna.subject]
    assert f"its pilot is {people.bela.subject} (x509, cms)" in rows[0]["because"]
    slurm.cancel(job)
    slurm.wait(job)


def test_a_job_of_the_owners_own_and_a_payload_of_theirs_outlive_each_other(
    slurm: ModuleType, people: SimpleNamespace
) -> None:
    """Both have one account: neither the epilog, nor a payload's end, nor the pruner may take the one for left over."""

    def sleeping(seconds: str) -> bool:
        return seconds in sleepers(account)

    def own_job(seconds: str) -> int:
        command = ["gridwarden", "submit", "slurm", "--proxy", str(people.anna.proxy)]
        text = f"#!/bin/sh\nexec sleep {seconds}\n"
        return int(subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout)

    def both() -> bool:
        return sleeping("4901") and sleeping("4902")

    account = account_of(people.anna)
    job = slurm.submit(pilot.ACCOUNT, BEGIN + AS.format("anna", "sleep 4901; true"))
    first = own_job("4902")
    slurm.until("payload and job", both)
    pruned = subprocess.run(["gridwarden-prune", "--all"], check=False, capture_output=True, text=True)
    assert pruned.returncode == 0, pruned.stdout
    slurm.cancel(first)
    slurm.until("the job's epilog", lambda: pilot.records("job_end", job=str(first)))
    slurm.wait(first)
    assert sleeping("4901"), "the epilog of the owner's own job killed the payload"
    second = own_job("4902")
    slurm.until("payload and job", both)
    slurm.cancel(job)
    slurm.wait(job)
    slurm.until("the payload to be gone", lambda: not sleeping("4901"))
    (start,) = pilot.records("payload_start", job=str(job))
    slurm.until("its end", lambda: pilot.records("payload_end", payload=start["payload"]))
    assert sleeping("4902"), "the payload's end killed the owner's own job"
    slurm.cancel(second)
    slurm.wait(second)


def test_two_payloads_of_one_person_do_not_end_each_other(slurm: ModuleType) -> None:
    for name in ("began", "over"):
        Path("/tmp", name).unlink(missing_ok=True)
    stays = "touch /tmp/began; until [ -e /tmp/over ]; do sleep 0.1; done; echo whole"
    long = AS.format("anna", stays)[:-1] + " &\n"
    short = "until [ -e /tmp/began ]; do sleep 0.1; done\n" + AS.format("anna", "setsid sleep 4903 & echo short")
    _, said = run(slurm, long + short + "echo left $(pgrep -fc '[s]leep 4903')\ntouch /tmp/over\nwait\n")
    assert said.split() == ["short", "left", "0", "whole"]
